"""The command line: one command, one function of `workflows`.

People read stderr, machines (``--json``) stdout.
"""

from moenas.cli.main import COMMANDS, load, main

__all__ = ["COMMANDS", "load", "main"]
