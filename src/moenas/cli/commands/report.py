"""``moenas report``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import tyro

from moenas.cli.arguments import Json
from moenas.cli.output import show
from moenas.errors import ConfigError
from moenas.report.figures import Format
from moenas.workflows import report


def report_command(
    runs: Annotated[
        tyro.conf.Positional[tuple[Path, ...]],
        tyro.conf.arg(help="Run folder; several are put side by side in one page."),
    ],
    figures: Format | None = None,
    out: Path | None = None,
    json: Json = False,
) -> None:
    """Draw a run's report anew, or compare several runs.

    Args:
        runs: Run folders.
        figures: Also write the figures of one run for print, into its folder figures.
        out: Page of a comparison; by default comparison.html beside the first run.
        json: JSON.
    """
    if len(runs) > 1:
        if figures is not None:
            raise ConfigError("--figures draws those of one run: name it alone.")
        path, compared = report.compare_runs(runs, out)
        show({"report": str(path), **compared.record()}, json, f"Comparison: {path}",
             *compared.verdict)  # fmt: skip
        return
    if not runs:
        raise ConfigError("Name a run folder, or several to compare.")
    if out is not None:
        raise ConfigError("--out is for comparisons: name two runs or more.")
    done = report.report(runs[0], figures)
    lines = [f"Report: {done.page}"] if done.page else []
    lines += [f"Model card: {card}" for card in done.cards]
    lines += [f"Figures: {', '.join(map(str, done.figures))}"] if done.figures else []
    told = {
        "report": None if done.page is None else str(done.page),
        "figures": [str(file) for file in done.figures],
        "cards": [str(card) for card in done.cards],
        "notes": list(done.notes),
    }
    show(told, json, *lines, *done.notes)
