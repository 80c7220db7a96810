"""A file is whole or as it was, whatever happens while it is written."""

from __future__ import annotations

import errno
import json
import os
import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from moenas import atomic
from moenas.errors import RunFolderError


def names(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.iterdir())


def test_a_file_is_written_with_its_folders(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b" / "c.txt"
    atomic.write_text(path, "grüße")
    assert path.read_text(encoding="utf-8") == "grüße"
    assert names(path.parent) == ["c.txt"]


def test_equal_bytes_are_not_written_again(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b.png"
    atomic.write_if_new(path, b"one")
    os.utime(path, (1, 1))
    atomic.write_if_new(path, b"one")
    assert path.stat().st_mtime == 1
    atomic.write_if_new(path, b"two")
    assert path.read_bytes() == b"two"


@pytest.mark.parametrize("call", ["fsync", "replace"])
@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_leaves_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str, code: int
) -> None:
    path = tmp_path / "file.json"
    atomic.write_text(path, '{"old": 1}')

    def full(*_: object) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os if call == "fsync" else Path, call, full)
    with pytest.raises(RunFolderError, match="The disk is full") as caught:
        atomic.write_text(path, '{"new": 2}')
    assert str(path) in str(caught.value)
    assert "same command again" in str(caught.value)
    assert json.loads(path.read_text()) == {"old": 1}
    assert names(tmp_path) == ["file.json"]


@pytest.mark.skipif(os.name != "posix", reason="folders are synchronised on POSIX alone")
def test_a_name_is_on_the_disk_before_a_write_returns(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[list[str]] = []  # what a folder holds when it is synchronised

    def refuse(descriptor: int) -> None:
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            seen.append(os.listdir(descriptor))
            raise OSError(errno.EINVAL, "not of folders")

    monkeypatch.setattr(os, "fsync", refuse)
    atomic.write_text(tmp_path / "a.txt", "a")
    with atomic.replaced_whole(tmp_path / "b.txt") as path:
        path.write_text("b")
    assert [sorted(each) for each in seen] == [["a.txt"], ["a.txt", "b.txt"]]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_disk_that_fills_while_writing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A real ENOSPC of a real write, in the middle of a large file."""
    real = os.fdopen

    def onto_full_device(descriptor: int, mode: str) -> object:
        os.dup2(os.open("/dev/full", os.O_WRONLY), descriptor)
        return real(descriptor, mode)

    monkeypatch.setattr(os, "fdopen", onto_full_device)
    with pytest.raises(RunFolderError, match="The disk is full"):
        atomic.write_bytes(tmp_path / "big", b"x" * (1 << 20))
    assert names(tmp_path) == []


@pytest.mark.parametrize("code", [errno.EACCES, errno.EPERM, errno.EROFS])
def test_no_permission_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(RunFolderError, match=r"No permission to write .* Choose another folder"):
        atomic.write_text(tmp_path / "file", "text")


@pytest.mark.skipif(os.name != "posix", reason="permissions of POSIX")
def test_files_are_for_whom_the_umask_says(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        atomic.write_text(tmp_path / "file", "text")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "file").stat().st_mode) == 0o640


NOBODY = 2**22 + 1
"""No process has this number: Linux ends at 2^22."""


@pytest.mark.skipif(os.name != "posix", reason="locks of POSIX")
def test_what_a_living_writer_holds_is_no_leftover(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its number says nothing: in another container of this machine it is another process's."""
    with monkeypatch.context() as patch:
        patch.setattr(os, "getpid", lambda: NOBODY)
        whole = atomic.replaced_whole(tmp_path / "study.db")
        with whole as path, atomic.atomic_file(tmp_path / "a.json") as file:
            file.write(b"half")
            path.write_text("half")
            atomic.remove_leftovers(tmp_path)
            assert len(names(tmp_path)) == 2
    assert names(tmp_path) == ["a.json", "study.db"]


def test_folders_of_killed_writers_are_removed(tmp_path: Path) -> None:
    left = tmp_path / f".study.db.{NOBODY}-{atomic.HOST}-0badc0de.part"
    left.mkdir()
    (left / "study.db").write_text("half")
    atomic.remove_leftovers(tmp_path)
    assert names(tmp_path) == []


def test_other_errors_keep_their_reason(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(RunFolderError, match=r"Cannot write .*: (Not a directory|File exists)"):
        atomic.write_text(tmp_path / "file" / "below", "text")


def test_an_error_of_the_caller_leaves_nothing(tmp_path: Path) -> None:
    def fail_halfway() -> None:
        with atomic.atomic_file(tmp_path / "file") as file:
            file.write(b"half")
            raise KeyError

    with pytest.raises(KeyError):
        fail_halfway()
    assert names(tmp_path) == []


def test_killed_while_writing_the_old_file_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "file"
    atomic.write_text(path, "old")
    code = (
        "import os, signal, sys, pathlib\n"
        "from moenas.atomic import atomic_file\n"
        "with atomic_file(pathlib.Path(sys.argv[1])) as file:\n"
        "    file.write(b'new' * 100000); file.flush()\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(path)], check=False)
    assert done.returncode == -signal.SIGKILL
    assert path.read_text() == "old"
