"""Several ``moenas search`` processes on one run: one leads, the others help it to train.

Who has the run folder's lock leads: prepares the data, prunes, and writes all results. Parents,
trials and finalists are trained by all of them, each by one (see `Leases`). The lock of a leader
that dies is free, and one of the others, or the same command given again, leads on.
"""

from __future__ import annotations

import contextlib
from pathlib import Path

from moenas.config import to_dict
from moenas.console import logger
from moenas.errors import RunFolderInUseError
from moenas.nas.budget import Clock
from moenas.nas.leases import wait_for_others
from moenas.nas.settings import SearchConfig
from moenas.nas.storage import SharedStorage
from moenas.run_log import check_settings, working
from moenas.tracking.recording import Recording, recording
from moenas.training.loop import OutOfTime
from moenas.workflows.search import SearchResult, open_run
from moenas.workflows.search_run import SearchRun
from moenas.workflows.settings import Resources


def search_together(
    config: SearchConfig,
    run: Path | str,
    storage: str,
    resources: Resources | None = None,
) -> SearchResult | None:
    """Search as `search` does, beside other processes that call this with the same arguments.

    Args:
        config: What to search.
        run: The run folder, on storage that all processes see.
        storage: A PostgreSQL URL, or a journal file's path (``.log``) on such storage.
        resources: Where and how long this process computes.

    Returns:
        What was found; None: this process has done its part, another one finishes the search.

    Raises:
        OutOfTime: The time limit came; the same call goes on.
        MoENASError: Bad data, settings, folder or storage; the message says what to do.
    """
    resources = resources or Resources()
    clock = Clock.of(resources.time_limit)
    shared = SharedStorage(storage)
    folder, settings = open_run(config, run), to_dict(config)
    helped = False
    with resources.start() as executor, shared.explained():
        unrecorded = Recording(None, "", folder)  # who leads records what all of them find
        part = SearchRun(config, folder, resources, clock, executor, unrecorded, shared)
        logger.info("The study is in '%s'.", shared)
        while True:
            with contextlib.ExitStack() as stack:
                try:
                    stack.enter_context(working(folder, settings))
                except RunFolderInUseError:
                    pass
                else:
                    shared.open()  # what is wrong with it is told before anything is trained
                    part.record = stack.enter_context(recording(resources.track, folder, settings))
                    return part.lead()
            if helped:
                logger.info("This process has done its part; another one finishes the search.")
                return None
            if folder.manifest.exists():
                check_settings(folder, settings)
                logger.info("Another process leads this search: helping it to train.")
                part.help()
                helped = True
            elif not clock.has(0):
                raise OutOfTime("The time limit came before the first training.")
            else:
                wait_for_others()
