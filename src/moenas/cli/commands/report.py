"""``moenas report``."""

from __future__ import annotations

from pathlib import Path

import tyro

from moenas.cli.arguments import Json
from moenas.cli.output import show
from moenas.workflows import report


def report_command(run: tyro.conf.Positional[Path], json: Json = False) -> None:
    """Draw a run's report anew.

    Args:
        run: Run folder.
        json: JSON.
    """
    path = report.report(run)
    show({"report": str(path)}, json, f"Report: {path}")
