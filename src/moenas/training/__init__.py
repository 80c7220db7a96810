"""One training loop and its schemes."""
