"""The state of a run folder, as a bug report needs it: read quickly, changed in nothing."""

from __future__ import annotations

import collections
import contextlib
import dataclasses
import shutil
import sqlite3
import struct
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from moenas.errors import RunFolderError
from moenas.nas.study import open_recorded_study
from moenas.parsing import parse_json, read_json
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
    damaged = {}
    for file in files:
        if file != run.study and not _is_left(file) and (why := _damage(file)):
            damaged[file.relative_to(run.path).as_posix()] = why
    trials, wrong, problems = _look_at_study(run)
    if wrong:
        damaged[run.study.name] = wrong
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
        problems=(*problems, *check_place(run.path, "The run cannot go on.")),
    )


def _look_at_study(run: RunFolder) -> tuple[dict[str, int], str | None, list[str]]:
    """Return its trials by their state, what is damaged, and what else is to be told."""
    problems: list[str] = []
    if not run.study.exists():
        return {}, None, problems
    try:
        with _settled(run) as whole:
            if whole is not run:
                problems.append(
                    f"A process was killed while it wrote '{run.study.name}', which is not "
                    "damaged by that: the next command repairs it."
                )
            if wrong := _damage(whole.study):
                return {}, wrong, []
            found = open_recorded_study(whole).get_trials(deepcopy=False)
            return dict(collections.Counter(t.state.name.lower() for t in found)), None, problems
    except RunFolderError as error:
        return {}, str(error).replace(str(whole.study), str(run.study)), []
    except OSError as error:  # the copy finds no room
        return {}, None, [f"'{run.study.name}' was not looked at: {error}."]


@contextlib.contextmanager
def _settled(run: RunFolder) -> Iterator[RunFolder]:
    """Give the run, or a folder with a copy of its study where a kill left that half written.

    SQLite takes back what is half written as soon as somebody opens the file to write it. The
    doctor changes nothing: there it has a copy to do it with.
    """
    if not _is_half_written(run.study):
        yield run
        return
    with tempfile.TemporaryDirectory(prefix="moenas-", ignore_cleanup_errors=True) as folder:
        copy = RunFolder(Path(folder))
        for left, own in ((_journal(run.study), _journal(copy.study)), (run.study, copy.study)):
            shutil.copyfile(left, own)
        # what is damaged all the same is told by who looks at it next
        with (
            contextlib.suppress(sqlite3.Error),
            contextlib.closing(_connect(copy.study, "rw")) as db,
        ):
            db.execute("PRAGMA schema_version").fetchone()
        yield copy


def _is_half_written(file: Path) -> bool:
    """Whether a database has a journal whose writer is dead: of a living one it can be read."""
    if not _journal(file).exists():
        return False
    try:
        _check_database(file)
    except sqlite3.OperationalError as error:
        return error.sqlite_errorcode & 0xFF == sqlite3.SQLITE_READONLY
    except (sqlite3.Error, ValueError):
        return False
    return False


def _journal(database: Path) -> Path:
    """Where SQLite keeps the pages that a database had before they were written anew."""
    return database.with_name(f"{database.name}-journal")


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
    except Exception as error:  # on foreign bytes there is no end of kinds
        return f"{type(error).__name__}: {error}"[:200]
    return None


def _check_json(file: Path) -> None:
    read_json(file)


def _check_lines(file: Path) -> None:
    for line in file.read_text(encoding="utf-8").splitlines():
        parse_json(line)


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
        header = parse_json(stream.read(length))
    if not isinstance(header, dict):
        raise ValueError("its header is no table of tensors")
    ends = [each["data_offsets"][1] for name, each in header.items() if name != "__metadata__"]
    expected = 8 + length + max(ends, default=0)
    if size != expected:
        raise ValueError(f"it has {size} bytes of {expected}")


def _check_database(file: Path) -> None:
    with contextlib.closing(_connect(file, "ro")) as db:
        (answer,) = db.execute("PRAGMA quick_check(1)").fetchone()
    if answer != "ok":
        raise ValueError(answer)


def _connect(file: Path, mode: str) -> sqlite3.Connection:
    return sqlite3.connect(f"{file.resolve().as_uri()}?mode={mode}", uri=True)


CHECKS: dict[str, Callable[[Path], None]] = {
    ".json": _check_json,
    ".jsonl": _check_lines,
    ".parquet": _check_parquet,
    ".safetensors": _check_safetensors,
    ".db": _check_database,
}
"""What is looked at, by the end of a file's name."""
