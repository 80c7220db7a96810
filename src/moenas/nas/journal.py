"""A study in one file that many processes append to, and that survives the death of any of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.storages.journal._file import BaseJournalFileLock

from moenas.atomic import explained
from moenas.locks import hold, system_lock


def open_journal(path: Path) -> JournalStorage:
    """Open a journal file, or begin one.

    Raises:
        OSError: There is no such folder, or the file may not be read.
        ValueError: It is no journal.

    What cannot be written later, because the disk is full for instance, is a RunFolderError.
    """
    return JournalStorage(_File(path))


class _File(JournalFileBackend):
    def __init__(self, path: Path) -> None:
        super().__init__(str(path), _Lock(path))
        self._path = path

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        with explained(self._path):
            super().append_logs(logs)


class _Lock(BaseJournalFileLock):
    """Held while a line is appended; the system frees it when its process dies.

    Optuna's own locks are files that a killed process leaves behind, which the others wait for half
    a minute, and half a line that it leaves makes the journal unreadable.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = system_lock(path.with_name(f"{path.name}.lock"))

    def acquire(self) -> bool:
        with explained(self._path):
            hold(self._lock, poll_interval=0.01)
            _cut_half_line(self._path)
        return True

    def release(self) -> None:
        self._lock.release()


def _cut_half_line(path: Path) -> None:
    """Remove what a process that was killed, or found the disk full, wrote of its last line."""
    with path.open("rb+") as file:
        if not file.seek(0, 2):
            return
        file.seek(-1, 2)
        if file.read(1) != b"\n":
            file.seek(0)
            file.truncate(file.read().rfind(b"\n") + 1)
