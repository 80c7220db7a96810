"""The log of a run: whole lines, from many writers, of bounded size, without secrets."""

from __future__ import annotations

import datetime
import json
import multiprocessing
from pathlib import Path
from typing import Any

import pytest

from moenas import run_log
from moenas.console import logger, note
from moenas.errors import RunFolderError
from moenas.run_log import RunLog, read_log, working
from moenas.runs import RunFolder
from moenas.training.loop import OutOfTime


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    return RunFolder.create(tmp_path / "run", "train", {"epochs": 1})


def entries(folder: RunFolder) -> list[dict[str, Any]]:
    return [json.loads(line) for line in folder.log.read_text().splitlines()]


def test_what_is_logged_and_noted(folder: RunFolder) -> None:
    with working(folder):
        logger.warning("%d odd images at ftp://me:secret@host", 3)
        note("trial", "Trial 7 is done", trial=7, fairness=float("nan"), level="mine")
    began, warned, noted, ended = entries(folder)
    assert (began["event"], began["kind"], ended["event"]) == ("began", "train", "ended")
    assert (ended["outcome"], ended["seconds"] >= 0) == ("finished", True)
    assert warned["level"] == "warning"
    assert warned["message"] == "3 odd images at ftp://me:***@host"
    assert (noted["trial"], noted["fairness"], noted["level"]) == (7, None, "info")
    moment = datetime.datetime.fromisoformat(noted["time"])
    assert noted["time"].endswith("Z")
    assert abs((datetime.datetime.now(datetime.UTC) - moment).total_seconds()) < 60
    logger.warning("after the work")
    note("trial", "after the work")
    assert len(entries(folder)) == 4


@pytest.mark.parametrize(
    ("error", "outcome", "traced"),
    [
        (OutOfTime("over"), "stopped", False),
        (KeyboardInterrupt(), "stopped", False),
        (RunFolderError("The disk is full."), "failed", False),
        (ZeroDivisionError("x"), "failed", True),
    ],
)
def test_how_work_ended(
    folder: RunFolder, error: BaseException, outcome: str, traced: bool
) -> None:
    with pytest.raises(type(error)), working(folder):
        raise error
    ended = entries(folder)[-1]
    assert ended["outcome"] == outcome
    assert ended["error"].startswith(type(error).__name__)
    assert ("traceback" in ended) == traced


def test_a_second_process_is_refused_and_writes_nothing(folder: RunFolder) -> None:
    with working(folder):
        with pytest.raises(RunFolderError, match="Another process"), working(folder):
            pass
        note("trial", "still here")
    assert [e["event"] for e in entries(folder)] == ["began", "trial", "ended"]


def write_many(path: Path, writer: int) -> None:
    log = RunLog(path, path.with_name("older"))
    for i in range(200):
        log.add({"writer": writer, "i": i, "text": "x" * (37 * (i % 50))})


def test_writers_do_not_mix_their_lines(tmp_path: Path) -> None:
    path = tmp_path / "log"
    context = multiprocessing.get_context("fork")
    others = [context.Process(target=write_many, args=(path, i)) for i in range(3)]
    for other in others:
        other.start()
    for other in others:
        other.join()
    # Who looks while another writes may end that one's line once more: an empty line is no entry.
    lines = [json.loads(line) for line in path.read_text().splitlines() if line]
    assert sorted((e["writer"], e["i"]) for e in lines) == [
        (writer, i) for writer in range(3) for i in range(200)
    ]


def test_a_line_cut_by_a_kill_spoils_no_other(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_text('{"i": 1}\n{"i": 2, "te')
    RunLog(path, tmp_path / "older").add({"i": 3})
    assert read_log(path, 10) == [{"i": 1}, {"i": 3}]
    assert read_log(path, 1) == [{"i": 3}]


def test_the_log_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_log, "LARGEST", 1000)
    path, older = tmp_path / "log", tmp_path / "older"
    log = RunLog(path, older)
    for i in range(300):
        log.add({"i": i, "text": "x" * 50})
    assert older.stat().st_size + (path.stat().st_size if path.exists() else 0) < 2200
    kept = [e["i"] for p in (older, path) for e in read_log(p, 99)]
    assert kept == list(range(300))[-len(kept) :]


def test_a_log_that_cannot_be_written_ends_nothing(folder: RunFolder) -> None:
    folder.log.mkdir()
    with working(folder):
        note("trial", "nobody hears it")


def test_a_run_that_only_has_a_log_holds_nobody_to_its_settings(folder: RunFolder) -> None:
    with pytest.raises(RunFolderError, match="refused"), working(folder):
        raise RunFolderError("refused")
    RunFolder.create(folder.path, "train", {"epochs": 2})
