"""The commit that a result is of."""

from __future__ import annotations

import subprocess
from pathlib import Path


def commit() -> str:
    """Short name of the commit of this folder; "unknown" where there is no git."""
    try:
        done = subprocess.run(
            ["git", "rev-parse", "--short", "HEAD"],
            cwd=Path(__file__).parent,
            capture_output=True,
            text=True,
            check=False,
        )
    except OSError:  # not installed
        return "unknown"
    return done.stdout.strip() or "unknown"
