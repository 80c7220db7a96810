"""``moenas report``."""

from __future__ import annotations

from pathlib import Path

import tyro

from moenas.cli.arguments import Json
from moenas.cli.output import show
from moenas.report.figures import Format
from moenas.workflows import report


def report_command(
    run: tyro.conf.Positional[Path], figures: Format | None = None, json: Json = False
) -> None:
    """Draw a run's report anew.

    Args:
        run: Run folder.
        figures: Also write the figures for print, into its folder figures.
        json: JSON.
    """
    page, files = report.report(run, figures)
    notes = [f"Figures: {', '.join(str(file) for file in files)}"] if files else []
    paths = [str(file) for file in files]
    show({"report": str(page), "figures": paths}, json, f"Report: {page}", *notes)
