"""``moenas report``: draw a run's report anew from its folder."""

from __future__ import annotations

from pathlib import Path

from moenas.errors import RunFolderError
from moenas.report.html import render
from moenas.report.routes_page import render_routes
from moenas.runs import RunFolder


def report(run: Path | str) -> Path:
    """Write ``report.html`` of a run (``routes.html`` of routes) and return its path.

    Args:
        run: The run folder.

    Raises:
        RunFolderError: It is not a run folder, an audit's, or its files are damaged.
    """
    folder = RunFolder.open(run)
    kind = folder.read_config()["kind"]
    if kind == "routes":
        return render_routes(folder)
    if kind == "audit":
        raise RunFolderError(
            f"'{run}' holds an audit, which has tables and no page: read {folder.audit.name} and "
            f"{folder.answers.name} there."
        )
    return render(folder)
