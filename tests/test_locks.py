from __future__ import annotations

import errno
import fcntl
from collections.abc import Callable
from pathlib import Path
from typing import Any

import filelock
import pytest

from moenas.data.waiting import one_at_a_time
from moenas.errors import RunFolderError
from moenas.locks import hold, system_lock
from moenas.nas.journal import open_journal
from moenas.nas.leases import FileLeases
from moenas.runs import RunFolder


def lease(folder: Path) -> None:
    FileLeases(RunFolder(folder)).take("0001")


def choose(folder: Path) -> None:
    with FileLeases(RunFolder(folder)).choosing():
        pass


def draw(folder: Path) -> None:
    with one_at_a_time(folder / ".lock", "draws"):
        pass


def keep(folder: Path) -> None:
    open_journal(folder / "study.log").create_new_study([])


@pytest.mark.parametrize("code", [errno.ENOSYS, errno.ENOLCK])
@pytest.mark.parametrize("work", [lease, choose, draw, keep], ids=lambda work: work.__name__)
def test_a_file_system_without_locks_is_told_and_no_marker_is_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, work: Callable[[Path], None], code: int
) -> None:
    def missing(*_: Any) -> None:
        raise OSError(code, "not here")

    monkeypatch.setattr(fcntl, "flock", missing)
    with pytest.raises(RunFolderError, match=r"without file locks.* on NFS, have locks"):
        work(tmp_path)
    left = [path for path in tmp_path.rglob("*") if path.is_file() and path.stat().st_size]
    assert left == []  # a marker says whose it is


def test_older_versions_that_turn_into_markers_are_found_out(tmp_path: Path) -> None:
    lock = filelock.SoftFileLock(tmp_path / "lock")
    with pytest.raises(RunFolderError, match="without file locks"):
        hold(lock)
    assert not lock.is_locked


def test_other_errors_stay_as_they_are(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match="file"):
        hold(system_lock(tmp_path / "file" / "lock"))
    held = system_lock(tmp_path / "lock")
    hold(held)
    with pytest.raises(filelock.Timeout):
        hold(system_lock(tmp_path / "lock"), timeout=0)
    held.release()
