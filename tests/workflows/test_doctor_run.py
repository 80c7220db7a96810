"""What the doctor says of a run folder, of one whose process was killed above all."""

from __future__ import annotations

import os
import signal
import sqlite3
import struct
import subprocess
import sys
from pathlib import Path

import optuna
import pytest

from moenas.nas.objectives import PAPER_OBJECTIVES
from moenas.nas.study import open_recorded_study, open_study
from moenas.runs import RunFolder
from moenas.workflows.doctor_run import examine

KILLED = """
import os, signal, sqlite3, sys
database = sqlite3.connect(sys.argv[1], isolation_level=None)
database.execute("PRAGMA cache_size=2")  # pages go to the file before the commit
database.execute("BEGIN IMMEDIATE")
database.execute("UPDATE trial_user_attributes SET value_json = value_json || 'zzzz'")
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    """A search with three trials."""
    run = RunFolder.create(tmp_path / "run", "search", {})
    study = open_study(run, PAPER_OBJECTIVES, optuna.samplers.RandomSampler())
    values = [1.0] * len(PAPER_OBJECTIVES)
    for _ in range(3):
        trial = optuna.trial.create_trial(values=values, user_attrs={"x": "y" * 2000})
        study.add_trials([trial])
    return run


def contents(run: RunFolder) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in run.path.iterdir() if file.is_file()}


@pytest.fixture
def killed(run: RunFolder) -> RunFolder:
    """The same, after a kill in the middle of a commit."""
    done = subprocess.run([sys.executable, "-c", KILLED, run.study], check=False)
    assert done.returncode == -signal.SIGKILL
    assert run.study.with_name("study.db-journal").stat().st_size
    with pytest.raises(sqlite3.OperationalError, match="readonly"):
        sqlite3.connect(f"{run.study.as_uri()}?mode=ro", uri=True).execute("PRAGMA quick_check")
    return run


@pytest.mark.skipif(os.name != "posix", reason="kills")
def test_a_study_that_a_kill_left_half_written_is_no_damaged_one(killed: RunFolder) -> None:
    before = contents(killed)
    state = examine(killed.path)
    assert contents(killed) == before
    assert (state.damaged, state.trials) == ({}, {"complete": 3})
    assert [each for each in state.problems if "repairs it" in each]
    attributes = open_recorded_study(killed).trials[0].user_attrs
    assert attributes["x"] == "y" * 2000  # what was half written is taken back
    assert not [each for each in examine(killed.path).problems if "repairs it" in each]


@pytest.mark.skipif(os.name != "posix", reason="kills")
def test_one_that_is_damaged_besides_is_named(killed: RunFolder) -> None:
    with killed.study.open("r+b") as file:
        file.truncate(5000)
    before = contents(killed)
    state = examine(killed.path)
    assert contents(killed) == before
    assert list(state.damaged) == ["study.db"]
    assert "/moenas-" not in state.damaged["study.db"]  # where the copy was
    assert not state.problems


@pytest.mark.skipif(os.name != "posix", reason="kills")
def test_without_room_for_a_copy_nothing_is_called_damaged(
    killed: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("shutil.copyfile", full)
    state = examine(killed.path)
    assert not state.damaged
    assert "'study.db' was not looked at: [Errno 28]" in state.problems[0]


def test_a_study_that_is_written_now_is_read_where_it_is(run: RunFolder) -> None:
    writer = sqlite3.connect(run.study, isolation_level=None)
    writer.execute("BEGIN IMMEDIATE")
    writer.execute("UPDATE trials SET state = 'FAIL'")
    assert run.study.with_name("study.db-journal").exists()
    state = examine(run.path)
    writer.execute("ROLLBACK")
    writer.close()
    assert (state.damaged, state.trials) == ({}, {"complete": 3})
    assert not state.problems


HEADERS = (b"[]", b'{"a":"b"}', b'{"a":{}}', b'{"a":{"data_offsets":3}}', b"3", b"[" * 100_000)


@pytest.mark.parametrize("header", HEADERS)
def test_any_header_of_tensors_is_looked_at(header: bytes, tmp_path: Path) -> None:
    run = RunFolder.create(tmp_path / "run", "train", {})
    (run.path / "a.safetensors").write_bytes(struct.pack("<Q", len(header)) + header)
    assert list(examine(run.path).damaged) == ["a.safetensors"]


def test_deep_json_is_damaged(tmp_path: Path) -> None:
    run = RunFolder.create(tmp_path / "run", "train", {})
    deep = b"[" * 100_000
    for name in ("a.json", "a.jsonl", run.log.name):
        (run.path / name).write_bytes(deep)
    state = examine(run.path)
    assert list(state.damaged) == ["a.json", "a.jsonl", "log.jsonl"]
    assert state.log == ()
