"""The log of a run, ``log.jsonl``: what the terminal said and more, one JSON object a line.

The process that works in a run folder writes it, its workers don't. A line has ``time`` (UTC),
``level``, ``event``, ``message`` and the event's own fields, such as ``trial`` and ``seconds``.
"""

from __future__ import annotations

import contextlib
import datetime
import json
import logging
import os
import platform
import socket
import time
import traceback
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from moenas.console import events, logger, note
from moenas.errors import MoENASError, RunFolderError
from moenas.masking import masked_all
from moenas.parsing import parse_json
from moenas.runs import RunFolder
from moenas.serialisation import json_safe

LARGEST = 5_000_000
"""Bytes after which a log is put aside, in place of the one before it: two are kept at most."""

LONGEST = 20_000
"""Characters of a text that are kept."""


@contextlib.contextmanager
def working(folder: RunFolder, settings: Mapping[str, Any] | None = None) -> Iterator[None]:
    """Hold a run folder for this process, and keep its log, as long as the context lasts.

    Args:
        folder: The run's.
        settings: That it was opened with; None: any.

    Raises:
        RunFolderError: Another process holds it, or has begun it with other settings.
    """
    with folder.locked():
        if settings is not None:
            check_settings(folder, settings)
        handler = _Handler(RunLog(folder.log, folder.older_log))
        for source in (logger, events):
            source.addHandler(handler)
        kind = folder.read_config()["kind"]
        note("began", f"{kind} began", kind=kind, pid=os.getpid(), host=socket.gethostname(),
             python=platform.python_version())  # fmt: skip
        start = time.monotonic()
        try:
            yield
        except BaseException as error:
            ended, fields = outcome(error), {"error": f"{type(error).__name__}: {error}"}
            if not isinstance(error, MoENASError | KeyboardInterrupt | SystemExit):
                fields["traceback"] = "".join(traceback.format_exception(error))[-LONGEST:]
            note("ended", f"{kind}: {ended}", outcome=ended, seconds=_since(start), **fields)
            raise
        else:
            note("ended", f"{kind}: finished", outcome="finished", seconds=_since(start))
        finally:
            for source in (logger, events):
                source.removeHandler(handler)


def check_settings(folder: RunFolder, settings: Mapping[str, Any]) -> None:
    """Check that a run folder still has the settings that this process opened it with.

    As long as nothing is in it, another process can open it with other ones: hold it first.

    Raises:
        RunFolderError: It has other ones.
    """
    if folder.read_config()["settings"] != settings:
        raise RunFolderError(
            f"Another process opened '{folder.path}' with other settings at the same time. Choose "
            "another folder with --run."
        )


def outcome(error: BaseException | None) -> str:
    """How work ended, in a word: ``finished``, ``stopped`` (it goes on later) or ``failed``."""
    if error is None:
        return "finished"
    stopped = isinstance(error, KeyboardInterrupt) or getattr(error, "goes_on", False)
    return "stopped" if stopped else "failed"


class RunLog:
    """A file to which whole lines are added, each with one write: two writers don't mix theirs.

    A log never ends the work that it tells of: where it cannot be written it is not.

    Args:
        path: The file.
        older: Where it goes when it is large.
    """

    def __init__(self, path: Path, older: Path) -> None:
        self._path = path
        self._older = older

    def add(self, entry: dict[str, Any]) -> None:
        """Add a line."""
        text = json.dumps(masked_all(json_safe(entry)), default=str, ensure_ascii=False)
        with contextlib.suppress(OSError):
            self._add(text.encode(errors="replace") + b"\n")

    def _add(self, line: bytes) -> None:
        # Opened for each line: after another process has put the file aside, this is the new one.
        descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o666)
        try:
            size = os.fstat(descriptor).st_size
            if size and _last_byte(self._path) != b"\n":  # a writer was killed in its line
                line = b"\n" + line
            os.write(descriptor, line)
        finally:
            os.close(descriptor)
        if size + len(line) > LARGEST:
            self._path.replace(self._older)


def read_log(path: Path, last: int) -> list[dict[str, Any]]:
    """Return the last entries of a log; damaged lines are passed over, a missing log is empty."""
    try:
        lines = path.read_bytes().splitlines()
    except OSError:
        return []
    entries: list[dict[str, Any]] = []
    for line in reversed(lines):
        if len(entries) == last:
            break
        with contextlib.suppress(ValueError):
            entry = parse_json(line)
            if isinstance(entry, dict):
                entries.append(entry)
    return entries[::-1]


class _Handler(logging.Handler):
    """Passes on what is logged."""

    def __init__(self, log: RunLog) -> None:
        super().__init__()
        self._log = log

    def emit(self, record: logging.LogRecord) -> None:
        try:
            message = record.getMessage()
        except (TypeError, ValueError):
            message = str(record.msg)
        moment = datetime.datetime.fromtimestamp(record.created, datetime.UTC)
        entry = {
            "time": moment.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "level": record.levelname.lower(),
            "event": getattr(record, "event", "message"),
            "message": message[:LONGEST],
        }
        fields = getattr(record, "fields", {})
        self._log.add(entry | {key: fields[key] for key in fields if key not in entry})


def _last_byte(path: Path) -> bytes:
    with path.open("rb") as file:
        file.seek(-1, os.SEEK_END)
        return file.read(1)


def _since(start: float) -> float:
    return round(time.monotonic() - start, 1)
