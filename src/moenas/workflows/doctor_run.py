"""The state of a run folder, as a bug report needs it: read quickly, changed in nothing."""

from __future__ import annotations

import collections
import contextlib
import dataclasses
import json
import shutil
import sqlite3
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

from moenas.errors import RunFolderError
from moenas.nas.study import open_recorded_study
from moenas.run_log import read_log
from moenas.runs import ModelFolder, RunFolder
from moenas.workflows.doctor import check_place

LAST = 8
"""Lines of the log that are shown."""


@dataclasses.dataclass(frozen=True)
class RunState:
    """The state of a run.

    Attributes:
        run: Its folder.
        kind: The command that made it.
        finished: Whether that command ended and left all of its files.
        holder: Who works in it now; None: nobody.
        models: Models that are trained and scored, or whose predictions were brought along.
        begun: Models that are begun and not finished.
        trials: Trials of a search by their state.
        bytes: Size of all files.
        disk_bytes: Disk that is free there.
        damaged: Files that cannot be what they should, each with why.
        leftovers: Unfinished files of writers that were killed; they may be deleted.
        log: The last entries of the run's log.
        problems: What else is wrong with the place.
    """

    run: str
    kind: str
    finished: bool
    holder: str | None
    models: int
    begun: int
    trials: dict[str, int]
    bytes: int
    disk_bytes: int
    damaged: dict[str, str]
    leftovers: tuple[str, ...]
    log: tuple[dict[str, Any], ...]
    problems: tuple[str, ...]


def examine(path: Path | str) -> RunState:
    """Look at a run folder; files are looked at as a whole only where they are small.

    Raises:
        RunFolderError: It is none, or its ``config.json`` is damaged.
    """
    run = RunFolder.open(path)
    kind = run.read_config()["kind"]
    files = sorted(file for file in run.path.rglob("*") if file.is_file())
    damaged, trials = {}, {}
    for file in files:
        if not _is_left(file) and (why := _damage(file)):
            damaged[file.relative_to(run.path).as_posix()] = why
    if run.study.exists() and run.study.name not in damaged:
        try:
            found = open_recorded_study(run).get_trials(deepcopy=False)
            trials = dict(collections.Counter(each.state.name.lower() for each in found))
        except RunFolderError as error:
            damaged[run.study.name] = str(error)
    begun = {file.parent for file in files
             if file.name in ("state.safetensors", "history.jsonl", "scores.json")}  # fmt: skip
    finished = {folder for folder in begun if ModelFolder(folder).finished}
    # Of a model that another program asked there is no more than what it said.
    judged = {f.parent for f in files if f == ModelFolder(f.parent).predictions} - begun
    log = read_log(run.older_log, LAST) + read_log(run.log, LAST)
    return RunState(
        run=str(run.path),
        kind=kind,
        finished=_finished(run, kind),
        holder=_holder(run),
        models=len(finished | judged),
        begun=len(begun - finished),
        trials=trials,
        bytes=sum(file.stat().st_size for file in files if file.exists()),
        disk_bytes=shutil.disk_usage(run.path).free,
        damaged=damaged,
        leftovers=tuple(f.relative_to(run.path).as_posix() for f in files if _is_left(f)),
        log=tuple(log[-LAST:]),
        problems=tuple(check_place(run.path, "The run cannot go on.")),
    )


def _finished(run: RunFolder, kind: str) -> bool:
    last = {"train": run.model().scores, "prune": run.pruning, "routes": run.routes_summary}
    return last.get(kind, run.summary).exists()


def _holder(run: RunFolder) -> str | None:
    """Who holds the lock: the log's last beginning tells, for only its holder writes it."""
    if not run.is_locked():
        return None
    began = [entry for entry in read_log(run.log, 10**6) if entry.get("event") == "began"]
    if not began:
        return "a process"
    return f"process {began[-1].get('pid')} on {began[-1].get('host')}"


def _is_left(file: Path) -> bool:
    """Whether a file is one that `atomic_file` has not renamed yet."""
    return file.name.startswith(".") and not file.name.startswith(".lock")


def _damage(file: Path) -> str | None:
    """Say what is wrong with a file, None where nothing is to be seen at a glance."""
    check = CHECKS.get(file.suffix)
    if check is None:
        return None
    try:
        check(file)
    except FileNotFoundError:  # a run at work has replaced it
        return None
    except (OSError, ValueError, KeyError, struct.error, sqlite3.Error) as error:
        return f"{type(error).__name__}: {error}"[:200]
    return None


def _check_json(file: Path) -> None:
    json.loads(file.read_text(encoding="utf-8"))


def _check_lines(file: Path) -> None:
    for line in file.read_text(encoding="utf-8").splitlines():
        json.loads(line)


def _check_parquet(file: Path) -> None:
    with file.open("rb") as stream:
        start = stream.read(4)
        stream.seek(-4, 2)
        if start != b"PAR1" or stream.read(4) != b"PAR1":
            raise ValueError("it has no beginning or no end of a Parquet file")


def _check_safetensors(file: Path) -> None:
    with file.open("rb") as stream:
        (length,) = struct.unpack("<Q", stream.read(8))
        size = file.stat().st_size
        if length > size:
            raise ValueError("its header is longer than the file")
        header = json.loads(stream.read(length))
    ends = [each["data_offsets"][1] for name, each in header.items() if name != "__metadata__"]
    expected = 8 + length + max(ends, default=0)
    if size != expected:
        raise ValueError(f"it has {size} bytes of {expected}")


def _check_database(file: Path) -> None:
    with contextlib.closing(sqlite3.connect(f"{file.resolve().as_uri()}?mode=ro", uri=True)) as db:
        (answer,) = db.execute("PRAGMA quick_check(1)").fetchone()
    if answer != "ok":
        raise ValueError(answer)


CHECKS: dict[str, Callable[[Path], None]] = {
    ".json": _check_json,
    ".jsonl": _check_lines,
    ".parquet": _check_parquet,
    ".safetensors": _check_safetensors,
    ".db": _check_database,
}
"""What is looked at, by the end of a file's name."""
