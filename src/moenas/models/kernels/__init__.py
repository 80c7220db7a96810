"""The compiled Switch FFN for CPUs: found or built on first use, never required."""
