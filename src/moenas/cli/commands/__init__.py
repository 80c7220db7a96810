"""One command, one file, whose function is named after it: ``search_command``."""
