"""``moenas report``: draw a run's report anew from its folder."""

from __future__ import annotations

from pathlib import Path

from moenas.report.html import render
from moenas.runs import RunFolder


def report(run: Path | str) -> Path:
    """Write ``report.html`` of a run and return its path.

    Args:
        run: The run folder.

    Raises:
        RunFolderError: It is not a run folder, or its files are damaged.
    """
    return render(RunFolder.open(run))
