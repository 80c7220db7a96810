"""Whose a running training is, where several processes work on one search.

The owner of a training holds a lock on a file of it, which the system frees when the process ends,
however it ends: a training whose lock can be had is nobody's, one whose lock cannot be had is at
work. No clock of any machine is needed.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from typing import Protocol

import filelock

from moenas.atomic import explain_os_error, explained
from moenas.locks import hold, system_lock
from moenas.runs import RunFolder

NEWS = 5.0
"""Seconds after which it is looked anew for free workers, and for work of processes that died."""

PATIENCE = 1.0
"""Seconds between two looks at what other processes do, when there is nothing else to do."""


def wait_for_others() -> None:
    """Let other processes work for a moment."""
    time.sleep(PATIENCE)


class Leases(Protocol):
    """Says which trainings are this process's: of trials, by their digits, and others, by name."""

    def choosing(self) -> contextlib.AbstractContextManager[None]:
        """Keep the others from starting a trial meanwhile."""
        ...

    def take(self, name: str) -> bool:
        """Make a training this process's; False: it is another's, which lives."""
        ...

    def give_back(self, name: str) -> None:
        """Let a training go: it is finished, or may be taken up by another."""
        ...


class Alone:
    """All are this process's: it has locked the whole run folder."""

    def choosing(self) -> contextlib.AbstractContextManager[None]:
        """Nobody else starts trials."""
        return contextlib.nullcontext()

    def take(self, name: str) -> bool:
        """What runs is a dead process's."""
        return True

    def give_back(self, name: str) -> None:
        """Nobody waits for it."""


class FileLeases:
    """Leases of a run folder that all processes see.

    Args:
        run: The run.

    Raises:
        RunFolderError: From all of its methods: the folder cannot be written, or has no locks.
    """

    def __init__(self, run: RunFolder) -> None:
        self._run = run
        self._choice = system_lock(run.lease("next"))
        self._held: dict[str, filelock.BaseFileLock] = {}

    @contextlib.contextmanager
    def choosing(self) -> Iterator[None]:
        """Keep the others from starting a trial meanwhile."""
        with explained(self._run.lease("next")):
            hold(self._choice)
        try:
            yield
        finally:
            self._choice.release()

    def take(self, name: str) -> bool:
        """Make a training this process's; False: it is another's, which lives."""
        path = self._run.lease(name)
        lock = system_lock(path)
        try:
            hold(lock, timeout=0)
        except filelock.Timeout:
            return False
        except OSError as error:
            raise explain_os_error(error, path) from error
        self._held[name] = lock
        return True

    def give_back(self, name: str) -> None:
        """Let a training go: it is finished, or may be taken up by another."""
        self._held.pop(name).release()
