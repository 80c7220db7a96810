"""Files that are there whole or not at all, however their writer ends."""

from __future__ import annotations

import contextlib
import errno
import glob
import hashlib
import os
import secrets
import shutil
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import psutil

from moenas.errors import RunFolderError

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

_PART = ".part"
"""End of the name of a file that is being written; before it are the writer's process and host."""
_NEW = os.O_CREAT | os.O_EXCL | os.O_WRONLY | getattr(os, "O_BINARY", 0)
HOST = hashlib.sha256(socket.gethostname().encode()).hexdigest()[:8]
"""This machine in such a name."""


@contextlib.contextmanager
def atomic_file(path: Path) -> Iterator[IO[bytes]]:
    """Open a temporary file beside ``path`` that takes its name only when written whole.

    Raises:
        RunFolderError: The disk is full or the folder not writable; nothing half-written is left.
    """
    temporary = _part_of(path)
    made = False
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # not by mkstemp: what it makes only its maker may read
        descriptor = os.open(temporary, _NEW, 0o666)
        made = True
        with os.fdopen(descriptor, "wb") as file, _held(temporary):
            yield file
            file.flush()
            os.fsync(file.fileno())
            file.close()
            temporary.replace(path)
        made = False
        _sync_folder(path.parent)
    except OSError as error:
        raise explain_os_error(error, path) from error
    finally:
        if made:
            temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def replaced_whole(path: Path) -> Iterator[Path]:
    """Give a name beside ``path`` for a library to write to; it takes its name when it is whole.

    Raises:
        RunFolderError: The disk is full or the folder not writable; nothing half-written is left.
    """
    scratch = _part_of(path)
    try:
        scratch.mkdir()
        try:
            with _held(scratch):
                written = scratch.resolve() / path.name
                yield written
                with written.open("rb") as file:
                    os.fsync(file.fileno())
                written.replace(path)
        finally:
            shutil.rmtree(scratch, ignore_errors=True)
        _sync_folder(path.parent)
    except OSError as error:
        raise explain_os_error(error, path) from error


def _part_of(path: Path) -> Path:
    """A new name beside ``path``, with its writer's process and machine."""
    return path.with_name(f".{path.name}.{os.getpid()}-{HOST}-{secrets.token_hex(4)}{_PART}")


@contextlib.contextmanager
def _held(path: Path) -> Iterator[None]:
    """Lock what is being written, as long as its writer lives; see `_abandoned`."""
    if fcntl is None:
        yield
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        with contextlib.suppress(OSError):  # some network file systems have no locks
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    finally:
        os.close(descriptor)


def _abandoned(path: Path, writer: int) -> bool:
    """Whether a half-written file's writer, a process of this machine, is dead.

    Containers may share a machine's name and not its processes: there its number says nothing, but
    a lock is seen. After a restart of a container the dead one's number may be our own.
    """
    if writer != os.getpid() and psutil.pid_exists(writer):
        return False
    if fcntl is None:
        return True
    descriptor = os.open(path, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return True
    finally:
        os.close(descriptor)
    return True


def _sync_folder(path: Path) -> None:
    """Wait until a folder's names are on the disk: a file's content alone has not its new name.

    Windows cannot open folders, and some network file systems refuse it: there a name may be lost
    in a power cut, as it may be without this.
    """
    if os.name != "posix":
        return
    with contextlib.suppress(OSError):
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def remove_leftovers(folder: Path, of: str | None = None) -> None:
    """Remove what writers that were killed have left half-written; the living keep theirs.

    Of other machines nobody here knows who lives: what they left stays.

    Args:
        folder: Where to look, in all folders below it, too.
        of: Name of the file that was to be written; any by default.

    Raises:
        RunFolderError: It cannot be removed.
    """
    name = "*" if of is None else glob.escape(of)
    with explained(folder):
        for left in list(folder.rglob(f".{name}.*-*{_PART}")):
            writer, _, rest = left.name.removesuffix(_PART).rpartition(".")[2].partition("-")
            if not writer.isdigit() or not rest.startswith(f"{HOST}-"):
                continue
            with contextlib.suppress(FileNotFoundError):  # it was written meanwhile
                if _abandoned(left, int(writer)):
                    shutil.rmtree(left) if left.is_dir() else left.unlink()


def explain_os_error(error: OSError, path: Path) -> RunFolderError:
    """Turn an operating system error on ``path`` into a message that says what to do."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return RunFolderError(
            f"The disk is full: '{path}' was not written. What was finished before is intact; "
            "free some space and run the same command again."
        )
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return RunFolderError(f"No permission to write '{path}'. Choose another folder.")
    return RunFolderError(f"Cannot write '{path}': {error.strerror or error}.")


@contextlib.contextmanager
def explained(path: Path) -> Iterator[None]:
    """Tell operating system errors inside as `explain_os_error` does.

    Raises:
        RunFolderError: There was one. A lock's time that is up counts as one, too.
    """
    try:
        yield
    except OSError as error:
        raise explain_os_error(error, path) from error


def write_bytes(path: Path, data: bytes) -> None:
    """Write a file atomically."""
    with atomic_file(path) as file:
        file.write(data)


def write_if_new(path: Path, data: bytes) -> None:
    """Write a file atomically unless it holds these bytes already: its time stays as it was then.

    What was made of a file, decoded images say, is known by its time, and would be made once more.
    """
    with contextlib.suppress(OSError):
        if path.stat().st_size == len(data) and path.read_bytes() == data:
            return
    write_bytes(path, data)


def write_text(path: Path, text: str) -> None:
    """Write a UTF-8 text file atomically."""
    write_bytes(path, text.encode())


def is_there(path: Path) -> bool:
    """Whether a file or folder exists.

    Raises:
        RunFolderError: It cannot be told: a folder above it may not be entered.
    """
    with explained(path):
        return path.exists()
