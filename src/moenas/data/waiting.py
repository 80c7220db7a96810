"""A lock between processes that says so when it has to wait."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import filelock

from moenas.atomic import explained
from moenas.console import logger
from moenas.locks import hold, system_lock


@contextlib.contextmanager
def one_at_a_time(path: Path, what: str) -> Iterator[None]:
    """Hold ``path`` as a lock; it goes when the process ends, however it ends.

    Args:
        path: The lock's own file; its folder is made.
        what: What another process may be doing there, e.g. ``"draws these images"``.

    Raises:
        RunFolderError: The folder cannot be written, or has no locks.
    """
    lock = system_lock(path)
    with explained(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            hold(lock, timeout=0)
        except filelock.Timeout:
            logger.info("Another process %s: waiting for it ('%s').", what, path.parent)
            hold(lock)
    try:
        yield
    finally:
        lock.release()
