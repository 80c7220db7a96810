"""``moenas report``: draw a run's report anew from its folder, or put several runs side by side."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

from moenas.atomic import is_there
from moenas.errors import ConfigError, RunFolderError
from moenas.report.card.writing import write_cards
from moenas.report.compare.comparing import ComparedRuns
from moenas.report.compare.comparing import compare_runs as hold_against
from moenas.report.compare.entrants import ReadRun, labels, read_run
from moenas.report.figures import Format, save_figures
from moenas.report.html import render, render_comparison
from moenas.report.routes_page import render_routes
from moenas.runs import RunFolder

ONE_MODEL = ("train", "prune")
"""Kinds of runs that leave one model."""

COMPARE = "A run of one model has a card and no page; name another run, too, to compare them."

NO_FIGURES = "Nor has it figures: --figures draws those of searches, audits, prunings and routes."


@dataclasses.dataclass(frozen=True)
class Reported:
    """What was written of a run.

    Attributes:
        page: ``report.html``; None for a run of one model, which has a model card instead.
        figures: Files of figures for print.
        cards: Model cards, each beside its checkpoint.
        notes: What could not be written, and why.
    """

    page: Path | None
    figures: tuple[Path, ...]
    cards: tuple[Path, ...]
    notes: tuple[str, ...]


def report(run: Path | str, figures: Format | None = None) -> Reported:
    """Write a run's page (``routes.html`` of routes), its models' cards and its figures for print.

    Args:
        run: The run folder.
        figures: Also write each figure as a file of this format.

    Raises:
        RunFolderError: It is not a run folder, or its files are damaged.
    """
    folder = RunFolder.open(run)
    if folder.read_config()["kind"] == "routes":
        drawn = [] if figures is None else save_figures(folder, figures)
        return Reported(render_routes(folder), tuple(drawn), (), ())
    cards, problems = write_cards(folder)
    try:
        page = render(folder)
    except RunFolderError:
        if not cards or folder.read_config()["kind"] not in ONE_MODEL:
            raise
        gone = (*problems, COMPARE) if figures is None else (*problems, COMPARE, NO_FIGURES)
        return Reported(None, (), tuple(cards), gone)
    drawn = [] if figures is None else save_figures(folder, figures)
    return Reported(page, tuple(drawn), tuple(cards), tuple(problems))


def compare_runs(
    runs: Sequence[Path | str], out: Path | str | None = None
) -> tuple[Path, ComparedRuns]:
    """Write one page that puts several runs side by side, on the images that they share.

    Args:
        runs: Two or more run folders of searches, audits, trainings or prunings, in any mix; the
            others are held against the first. One that cannot be read is named and left out.
        out: The page; None: ``comparison.html`` beside the first run folder.

    Returns:
        The page's path, and what it shows.

    Raises:
        ConfigError: Fewer than two runs.
        RunFolderError: One is no run folder or is named twice, or none of them can be read.
    """
    paths = [Path(run) for run in runs]
    if len(paths) < 2:
        raise ConfigError(f"{len(paths)} runs: a comparison needs two or more.")
    read: list[ReadRun] = []
    problems: list[RunFolderError] = []
    for path, label in zip(paths, labels(paths), strict=True):
        folder = RunFolder(path)
        if not is_there(folder.config):
            RunFolder.open(path)  # says that it is no run folder
        try:
            read.append(read_run(folder, label))
        except RunFolderError as error:
            problems.append(error)
    if not read:
        raise problems[0]
    compared = hold_against(read, [str(error) for error in problems])
    page = RunFolder(paths[0]).compared if out is None else Path(out)
    return render_comparison(compared, page), compared
