"""``moenas report``: draw a run's report anew from its folder."""

from __future__ import annotations

from pathlib import Path

from moenas.report.figures import Format, save_figures
from moenas.report.html import render
from moenas.report.routes_page import render_routes
from moenas.runs import RunFolder


def report(run: Path | str, figures: Format | None = None) -> tuple[Path, list[Path]]:
    """Write ``report.html`` of a run (``routes.html`` of routes), and its figures for print.

    Args:
        run: The run folder.
        figures: Also write each figure as a file of this format.

    Returns:
        The page, and the figures' files.

    Raises:
        RunFolderError: It is not a run folder, or its files are damaged.
    """
    folder = RunFolder.open(run)
    if folder.read_config()["kind"] == "routes":
        page = render_routes(folder)
        return page, sorted(folder.figures.glob(f"*.{figures}")) if figures else []
    page = render(folder)
    return page, [] if figures is None else save_figures(folder, figures)
