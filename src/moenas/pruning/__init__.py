"""Expert pruning: usage and removal."""
