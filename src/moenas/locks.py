"""Locks between processes that the system frees when their process ends, however it ends.

Where a file system has no locks, newer versions of filelock make a marker file instead, which a
process that is killed leaves behind for ever: here, that is an error.
"""

from __future__ import annotations

import errno
import inspect
from pathlib import Path

import filelock

from moenas.errors import RunFolderError

UNSUPPORTED = (errno.ENOSYS, errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP)


def system_lock(path: Path) -> filelock.BaseFileLock:
    """Return a lock on a file, to be acquired with `hold`."""
    known = inspect.signature(filelock.FileLock.__init__).parameters
    if "fallback_to_soft" in known:
        return filelock.FileLock(path, fallback_to_soft=False)
    return filelock.FileLock(path)


def hold(lock: filelock.BaseFileLock, timeout: float = -1, poll_interval: float = 0.05) -> None:
    """Acquire a lock; its ``release`` lets it go.

    Args:
        lock: Of `system_lock`.
        timeout: Seconds to wait for it; below 0: as long as it takes.
        poll_interval: Seconds between two tries.

    Raises:
        filelock.Timeout: Another process held it all the time.
        RunFolderError: The file system has no locks.
        OSError: The file cannot be opened.
    """
    try:
        lock.acquire(timeout, poll_interval)
        if isinstance(lock, filelock.SoftFileLock):  # what it became, in versions since 3.24
            lock.release()
            raise NotImplementedError
    except (OSError, NotImplementedError) as error:  # the latter in versions before 3.24
        if isinstance(error, OSError) and error.errno not in UNSUPPORTED:
            raise
        raise RunFolderError(
            f"'{lock.lock_file}' is on a file system without file locks, which keep processes "
            "apart. Choose a folder on another one; on NFS, have locks turned on."
        ) from error
