"""One file a command: thin and readable from top to bottom."""
