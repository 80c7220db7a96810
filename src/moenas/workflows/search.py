"""``moenas search``: dense parents → study → finalists → pruning → comparison → report.

Every stage leaves its files in the run folder and is passed over when they are there: the same
command goes on where it was ended, however it was ended. `SearchRun` has the stages.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from moenas.atomic import is_there
from moenas.config import to_dict
from moenas.console import logger
from moenas.data.counts import describe
from moenas.data.sources.emoji import EmojiConfig, planned_manifest
from moenas.data.sources.opening import DRAWN
from moenas.errors import RunFolderError
from moenas.models.cost import layer_count
from moenas.nas.budget import Clock, Estimate, estimate, measure_speed
from moenas.nas.settings import SearchConfig
from moenas.nas.storage import whereabouts
from moenas.run_log import working
from moenas.runs import RunFolder
from moenas.runtime import pick_device
from moenas.tracking.recording import recording
from moenas.workflows.data import open_manifest
from moenas.workflows.latency import given_table
from moenas.workflows.search_run import SearchResult, SearchRun, search_space
from moenas.workflows.settings import Resources

__all__ = ["SearchResult", "open_run", "price", "search"]


def search(
    config: SearchConfig, run: Path | str, resources: Resources | None = None
) -> SearchResult:
    """Search for small models that are accurate, fair, robust and general, and report on them.

    Args:
        config: What to search.
        run: The run folder; one of an unfinished search with equal settings goes on.
        resources: Where and how long to compute.

    Raises:
        OutOfTime: The time limit came; the same call goes on.
        MoENASError: Bad data, settings or folder; the message says what to do.
    """
    resources = resources or Resources()
    clock = Clock.of(resources.time_limit)
    folder, settings = open_run(config, run), to_dict(config)
    if folder.storage.exists():
        raise RunFolderError(
            f"The study of '{run}' is in '{whereabouts(folder).storage}', which several processes "
            "may share: give that with --storage."
        )
    with (
        working(folder, settings),
        recording(resources.track, folder, settings) as record,
        resources.start() as executor,
    ):
        return SearchRun(config, folder, resources, clock, executor, record).lead()


def open_run(config: SearchConfig, run: Path | str) -> RunFolder:
    """Make a search's run folder, or open it to go on; refuse settings that cannot work before."""
    table = None if is_there(RunFolder(Path(run)).latency) else given_table(config)
    search_space(config, table)  # settings that cannot work are refused before anything is written
    if config.wider_base is not None:
        layer_count(config.wider_base)
    else:
        logger.info("No wider dense model is compared with; name one of about the finalists' size.")
    return RunFolder.create(run, "search", to_dict(config))


def price(config: SearchConfig, resources: Resources | None = None) -> Estimate:
    """Tell what a search will cost, from a few measured training steps; nothing is written.

    Args:
        config: What to search. Its data must be there, or be the drawn scenes.
        resources: Where to compute.
    """
    resources = resources or Resources()
    search_space(config, given_table(config))
    counts = {name: part["n"] for name, part in _counts(config).items()}
    speed = measure_speed(config, pick_device(resources.device))
    return estimate(config, counts, speed, resources.count_workers())


def _counts(config: SearchConfig) -> dict[str, dict[str, Any]]:
    if config.data == (DRAWN,):  # known without drawing anything
        return describe(planned_manifest(EmojiConfig(size=config.image_size)))
    return describe(open_manifest(config.data, config.image_size))
