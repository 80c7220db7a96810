"""Executors: where and how many at once."""
