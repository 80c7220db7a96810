"""Tracking never ends or delays the work, and each step arrives once."""

from __future__ import annotations

import logging
import math
import threading
import time
from pathlib import Path

import pytest

from moenas.console import logger
from moenas.errors import RunFolderError
from moenas.runs import RunFolder
from moenas.serialisation import write_json
from moenas.tracking import recording as module
from moenas.tracking.recording import recording
from moenas.training.loop import OutOfTime
from tracked_run import Memory, new_run, use


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "FIRST_PAUSE", 0.01)
    monkeypatch.setattr(module, "PATIENCE", 0.5)


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    return new_run(tmp_path / "run")


@pytest.fixture
def warnings(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    class Listen(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if record.levelno >= logging.WARNING:
                heard.append(record.getMessage())

    heard: list[str] = []
    monkeypatch.setattr(logger, "handlers", [Listen()])
    monkeypatch.setattr(logger, "propagate", False)
    return heard


def test_points_and_files(folder: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    use(memory := Memory(), monkeypatch)
    with recording("mlflow", folder, {}) as record:
        record.add("trial", 0, {"a": 1, "none": None, "nan": math.nan})
        record.add("trial", 2, {"a": 3.5})
        record.attach(folder.report)
    assert memory.points == [("trial", 0, {"a": 1.0}), ("trial", 2, {"a": 3.5})]
    assert (memory.files, memory.outcomes, memory.known) == (["report.html"], ["finished"], [None])


def test_a_run_that_goes_on_sends_what_is_new(
    folder: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    use(memory := Memory(), monkeypatch)
    with pytest.raises(OutOfTime), recording("mlflow", folder, {}) as record:  # noqa: PT012
        record.add("trial", 0, {"a": 0})
        record.add("trial", 1, {"a": 1})
        raise OutOfTime("later")
    with recording("mlflow", folder, {}) as record:
        for step in (0, 1, 1, 2):
            record.add("trial", step, {"a": step})
        record.add("epoch", 1, {"a": 1})
    assert [(series, step) for series, step, _ in memory.points] == [
        ("trial", 0), ("trial", 1), ("trial", 2), ("epoch", 1),
    ]  # fmt: skip
    assert memory.known == [None, "run-1"]
    assert memory.outcomes == ["stopped", "finished"]


def test_a_run_whose_id_was_not_noted_is_found_by_its_token(
    folder: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    use(memory := Memory(), monkeypatch)
    with monkeypatch.context() as patch:
        patch.setattr(module._Ledger, "begin", lambda *_: 1 / 0)
        with recording("mlflow", folder, {}):
            pass
    with recording("mlflow", folder, {}) as record:
        record.add("trial", 0, {"a": 0})
    assert len(memory.tokens) >= 2  # the first may have tried again
    assert set(memory.known) == {None}
    assert len(set(memory.tokens)) == 1


def test_another_tracker_gets_all_of_it(folder: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("mlflow", "wandb"):
        use(memory := Memory(), monkeypatch)
        with recording(name, folder, {}) as record:  # type: ignore[arg-type]
            record.add("trial", 0, {"a": 0})
        assert len(memory.points) == 1


def test_a_tracker_that_comes_back_gets_everything(
    folder: RunFolder, monkeypatch: pytest.MonkeyPatch, warnings: list[str]
) -> None:
    use(memory := Memory(away=3), monkeypatch)
    with recording("mlflow", folder, {}) as record:
        for step in range(5):
            record.add("trial", step, {"a": step})
        deadline = time.monotonic() + 5
        while not memory.points and time.monotonic() < deadline:
            time.sleep(0.01)
    assert [step for _, step, _ in memory.points] == list(range(5))
    assert len(warnings) == 1
    assert (
        "mlflow takes nothing: no answer from http://me:***@host. The work goes on" in warnings[0]
    )


def test_a_tracker_that_stays_away(
    folder: RunFolder, monkeypatch: pytest.MonkeyPatch, warnings: list[str]
) -> None:
    use(Memory(away=10**9), monkeypatch)
    with recording("mlflow", folder, {}) as record:
        record.add("trial", 0, {"a": 0})
    assert len(warnings) == 2
    assert "1 of the points for mlflow were not sent" in warnings[1]
    use(memory := Memory(), monkeypatch)
    with recording("mlflow", folder, {}) as record:
        record.add("trial", 0, {"a": 0})
    assert len(memory.points) == 1


def test_a_tracker_that_hangs_delays_nothing(
    folder: RunFolder, monkeypatch: pytest.MonkeyPatch, warnings: list[str]
) -> None:
    memory, go = Memory(), threading.Event()
    monkeypatch.setattr(memory, "_reach", lambda: go.wait(20))
    use(memory, monkeypatch)
    start = time.monotonic()
    with recording("mlflow", folder, {}) as record:
        for step in range(1000):
            record.add("trial", step, {"a": step})
        assert time.monotonic() - start < 0.4
    assert time.monotonic() - start < 2
    assert "1000 of the points" in warnings[0]
    go.set()


def test_points_that_failed_are_not_taken_for_sent(
    folder: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    memory = Memory()
    use(memory, monkeypatch)
    monkeypatch.setattr(memory, "add", lambda points: 1 / 0)
    with recording("mlflow", folder, {}) as record:
        record.add("trial", 0, {"a": 0})
    assert '"trial"' not in folder.tracking.read_text()


ENTRIES = (
    "null", "[]", "3", '{"run": 7}', '{"token": []}', '{"sent": []}', '{"sent": {"trial": 0}}',
    '{"sent": {"trial": [[0]]}}', '{"run": "run-1", "sent": {"trial": [0, "a"]}}', '{"more": 1}',
)  # fmt: skip


@pytest.mark.parametrize(
    "text",
    ["[1, 2", "[]", "3", "null", '"a"', *(f'{{"mlflow memory": {each}}}' for each in ENTRIES)],
)
def test_a_damaged_ledger_is_no_end(
    folder: RunFolder, monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    folder.tracking.write_text(text)
    use(memory := Memory(), monkeypatch)
    with recording("mlflow", folder, {}) as record:
        record.add("trial", 0, {"a": 0})
    assert len(memory.points) == 1
    assert memory.known == [None]


def test_a_ledgers_other_entries_outlive_a_damaged_one(
    folder: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = {"run": "run-1", "token": "t", "sent": {"trial": [0]}}
    write_json(folder.tracking, {"mlflow memory": 3, "wandb memory": kept})
    use(memory := Memory(), monkeypatch)
    for name in ("mlflow", "wandb"):
        with recording(name, folder, {}) as record:  # type: ignore[arg-type]
            record.add("trial", 0, {"a": 0})
    assert len(memory.points) == 1
    assert memory.known == [None, "run-1"]


def test_what_could_not_be_noted_is_sent_later(
    folder: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A disk that is full for a moment: the step is neither lost nor told twice."""
    real, failed = module.write_json, []

    def full_once(path: Path, value: object) -> None:
        if "trial" in str(value) and not failed:
            failed.append(path)
            raise RunFolderError("The disk is full")
        real(path, value)

    monkeypatch.setattr(module, "write_json", full_once)
    use(memory := Memory(), monkeypatch)
    with recording("mlflow", folder, {}) as record:
        record.add("trial", 0, {"a": 1})
    assert failed
    assert memory.points == [("trial", 0, {"a": 1.0})]
