"""Several processes on one study: PostgreSQL and a journal, kill -9, passwords."""

from __future__ import annotations

import errno
import multiprocessing
import os
import random
import re
import signal
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fake_search
import optuna
import pytest
from fake_search import archive, make_driver
from optuna.trial import TrialState
from postgres import postgres_server

from moenas.errors import ConfigError, RunFolderError, SearchError
from moenas.nas import driver as driver_module
from moenas.nas import journal, leases
from moenas.nas.journal import open_journal
from moenas.nas.leases import FileLeases
from moenas.nas.objectives import PAPER_OBJECTIVES
from moenas.nas.sampler import MoENASSampler
from moenas.nas.settings import SearchConfig
from moenas.nas.storage import SharedStorage, keep_copy
from moenas.nas.study import open_recorded_study, open_study
from moenas.runs import ModelFolder, RunFolder
from moenas.serialisation import read_json
from moenas.workflows import search as search_module

TRIALS = 12


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with postgres_server() as url:
        yield url


@pytest.fixture(params=["postgresql", "journal"])
def storage(request: pytest.FixtureRequest, memory: Path) -> str:
    if request.param == "journal":
        return str(memory / "study.log")
    return str(request.getfixturevalue("server"))


@pytest.fixture
def run(memory: Path) -> RunFolder:
    return RunFolder.create(memory / "run", "search", {})


def notes(run: RunFolder) -> list[list[str]]:
    path = run.path / "notes.log"
    return [line.split() for line in path.read_text().splitlines()] if path.exists() else []


def start(run: RunFolder, storage: str, deaths: int = 0) -> Any:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["moenas.nas.study", "moenas.nas.sampler"])
    process = context.Process(
        target=fake_search.work_along, args=(run.path, storage, TRIALS, deaths)
    )
    process.start()
    return process


# Together


@pytest.mark.slow
def test_processes_share_a_study_and_finish_what_killed_ones_began(
    run: RunFolder, storage: str
) -> None:
    study = make_driver(run, shared=SharedStorage(storage)).study
    processes = [start(run, storage) for _ in range(2)]
    doomed = start(run, storage, deaths=2)
    deadline = time.monotonic() + 60
    while len(notes(run)) < 4 + random.randrange(6):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    processes[0].kill()  # wherever it is
    for process in (*processes, doomed):
        process.join(60)
    assert [p.exitcode for p in processes] == [-signal.SIGKILL, 0]

    trials = study.get_trials()
    assert [t.number for t in trials] == list(range(TRIALS))
    assert {t.state for t in trials} == {TrialState.COMPLETE}
    assert len({t.user_attrs["architecture"] for t in trials}) == TRIALS
    ends = Counter(number for what, number, _ in notes(run) if what == "ends")
    begins = Counter(number for what, number, _ in notes(run) if what == "begins")
    again = sum(begins.values()) - TRIALS
    if doomed.exitcode == -signal.SIGKILL:  # it got as far as a second training
        assert again >= 1
    assert again <= 2  # what the killed ones had begun, and nothing else
    assert set(ends) == {f"{n:04d}" for n in range(TRIALS)}
    assert len({process for what, _, process in notes(run) if what == "ends"}) >= 2

    keep_copy(run, study)  # what reports read
    assert archive(run.path) == [
        (t.number, t.state.name, t.params, t.values, t.constraints, t.user_attrs) for t in trials
    ]
    assert len(open_recorded_study(run).trials) == TRIALS


def test_a_study_that_began_in_the_run_folder_moves(
    run: RunFolder, storage: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(driver_module, "run_trial", fake_search.fake_job)
    make_driver(run).run(3)
    before = archive(run.path)
    driver = make_driver(run, shared=SharedStorage(storage))
    assert driver.run(5)
    found = driver.study.get_trials()
    assert [t.params for t in found[:3]] == [entry[2] for entry in before]
    assert {t.state for t in found} == {TrialState.COMPLETE}
    assert len(found) == 5


def test_what_others_finish_is_told(
    run: RunFolder, memory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shared = SharedStorage(str(memory / "study.log"))
    monkeypatch.setattr(driver_module, "run_trial", fake_search.fake_job)
    heard: list[int] = []
    other = make_driver(run, shared=shared)

    def work(job: Any) -> Any:
        if len(other.study.get_trials()) == 1:
            monkeypatch.setattr(driver_module, "run_trial", fake_search.fake_job)
            other.run(3)
        return fake_search.fake_job(job)

    monkeypatch.setattr(leases, "PATIENCE", 0)
    answers = iter([True, True, True, False])  # it would wait for the first one's trial
    mine = make_driver(run, shared=shared, on_result=lambda t: heard.append(t.number))
    monkeypatch.setattr(driver_module, "run_trial", work)
    other_run = other.run
    monkeypatch.setattr(other, "run", lambda n: other_run(n, lambda: next(answers, False)))
    assert mine.run(3)
    assert sorted(heard) == [0, 1, 2]


# Whose a trial is


def test_a_lease_is_one_processs_alone(run: RunFolder) -> None:
    one, other = FileLeases(run), FileLeases(run)
    assert one.take("0003")
    assert not other.take("0003")
    assert other.take("0004")
    one.give_back("0003")
    assert other.take("0003")


def test_a_trial_taken_up_keeps_the_point_that_was_suggested(memory: Path) -> None:
    """Killed between two parameters, and others' results came in: still the same vector."""
    space = fake_search.SPACE

    def open_it() -> optuna.Study:
        return optuna.create_study(
            storage=open_journal(memory / "study.log"),
            study_name="s",
            directions=["maximize"] * 4,
            load_if_exists=True,
            sampler=MoENASSampler(
                constraint=space.constraint, search_space=space.distributions(), initial=5
            ),
        )

    study = open_it()
    trial = study.ask()
    first = trial.suggest_int("e1", 1, 8)
    wanted = dict(trial.relative_params)
    for _ in range(8):
        study.tell(study.ask(space.distributions()), [random.random() for _ in range(4)])
    study = open_it()
    again = optuna.Trial(study, trial._trial_id)
    found = {name: again.suggest_int(name, space.low, space.high) for name in space.names}
    assert found == wanted
    assert found["e1"] == first


def test_a_folder_is_worked_in_once_at_a_time(run: RunFolder) -> None:
    """Workers outlive a killed driver for a moment; who takes up their trial waits for them."""
    folder = ModelFolder(run.path / "model")
    context = multiprocessing.get_context("forkserver")
    holding, go = context.Event(), context.Event()
    process = context.Process(target=hold, args=(folder.path, holding, go))
    process.start()
    assert holding.wait(60)
    go.set()
    with folder.locked():
        assert (folder.path / "left").exists()
    process.join(60)


def hold(path: Path, holding: Any, go: Any) -> None:
    with ModelFolder(path).locked():
        holding.set()
        go.wait(60)
        time.sleep(0.2)
        (path / "left").touch()


# Storages


def test_half_a_line_of_a_killed_process_is_cut_off(run: RunFolder, memory: Path) -> None:
    path = memory / "study.log"
    study = make_driver(run, shared=SharedStorage(str(path))).study
    with path.open("ab") as file:
        file.write(b'{"op_code": 4, "study')
    study.set_user_attr("note", 1)
    with path.open("ab") as file:
        file.write(b'{"op')
    again = make_driver(run, shared=SharedStorage(str(path))).study
    again.set_user_attr("more", 2)
    assert study.user_attrs["note"] == 1
    assert study.user_attrs["more"] == 2


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("postgresql://me:s3cret@host:5432/db", "postgresql://me:***@host:5432/db"),
        ("postgresql://me:s3@c/r:et@host/db", "postgresql://me:***@host/db"),
        ("postgresql://me@corp:s3cretword@host/db", "postgresql://me@corp:***@host/db"),
        ("postgresql://me:s3'cr\"et@host/db", "postgresql://me:***@host/db"),
        ("postgresql://me:s3cr et@host/db", "postgresql://me:***@host/db"),
        (f"postgresql://me:s3{'x' * 600}@host/db", "postgresql://me:***@host/db"),
        ("postgresql://host/db?user=me&password=s3cret", "postgresql://host/db?user=me&password=***"),
        ("postgresql://me@host:5432/db", "postgresql://me@host:5432/db"),
        ("runs/mine/study.log", "runs/mine/study.log"),
    ],
)  # fmt: skip
def test_passwords_are_not_shown(url: str, shown: str) -> None:
    assert str(SharedStorage(url)) == shown
    assert "s3" not in repr(SharedStorage(url))


@pytest.mark.parametrize("place", ["study.db", "mysql://me:s3cret@host/db", "sqlite:///s.log"])
def test_other_storages_are_refused(place: str) -> None:
    with pytest.raises(ConfigError, match=r"PostgreSQL database.*journal") as error:
        SharedStorage(place)
    assert "s3cret" not in str(error.value)


def test_a_wrong_password_is_told_without_it(server: str) -> None:
    with pytest.raises(SearchError, match="authentication failed") as error:
        SharedStorage(server.replace("p%40ss", "wr%40ng")).open()
    assert "wr" not in str(error.value).replace("wrote", "")
    assert error.value.__cause__ is None


@pytest.mark.parametrize(
    ("password", "kind", "shown"),
    [
        ("s3cr@et:word", ConfigError, r"cannot be read as .*%40 for @"),
        ("s3cr@et", SearchError, "does not work"),
    ],
)
def test_a_password_that_divides_the_url_is_not_told(
    password: str, kind: type[Exception], shown: str
) -> None:
    with pytest.raises(kind, match=shown) as error:
        SharedStorage(f"postgresql://me:{password}@/tmp/nowhere").open()
    assert "'postgresql://me:***@/tmp/nowhere'" in str(error.value)
    assert not re.search(r"s3cr|\bet\b|word@", str(error.value))
    assert error.value.__cause__ is None


def test_no_password_is_written_down(server: str, run: RunFolder) -> None:
    make_driver(run, shared=SharedStorage(server))
    assert ":***@127.0.0.1" in read_json(run.storage)["storage"]
    assert not [f for f in run.path.rglob("*") if f.is_file() and b"p%40ss" in f.read_bytes()]
    with pytest.raises(RunFolderError, match=r"is in 'postgresql://moenas:\*\*\*@.*until"):
        open_recorded_study(run)


def test_another_storage_than_the_runs_is_refused(run: RunFolder, memory: Path) -> None:
    make_driver(run, shared=SharedStorage(str(memory / "one.log")))
    two = SharedStorage(str(memory / "two.log"))
    with pytest.raises(RunFolderError, match=r"not in '.*two\.log'. It was begun in '.*one\.log'"):
        open_study(run, PAPER_OBJECTIVES, MoENASSampler(), two)


@pytest.mark.parametrize("text", ["{}", "[]", "3", "null", '{"study": "a", "storage": ["b"]}'])
def test_a_storage_file_of_another_shape_is_named(
    run: RunFolder, memory: Path, text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    run.storage.write_text(text)
    shared = SharedStorage(str(memory / "one.log"))
    told = r"'.*storage\.json' does not say where .*delete it"
    with pytest.raises(RunFolderError, match=told):
        open_study(run, PAPER_OBJECTIVES, MoENASSampler(), shared)
    with pytest.raises(RunFolderError, match=told):
        open_recorded_study(run)
    monkeypatch.setattr(search_module, "open_run", lambda *_: run)
    with pytest.raises(RunFolderError, match=told):
        search_module.search(SearchConfig(data=("emoji",)), run.path)


def test_a_journal_on_a_full_disk_is_one_clear_error(
    run: RunFolder, memory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    study = make_driver(run, shared=SharedStorage(str(memory / "study.log"))).study
    for module, name in ((os, "fsync"), (journal, "hold")):
        with monkeypatch.context() as patch:
            patch.setattr(module, name, full)
            with pytest.raises(RunFolderError, match=r"disk is full: '.*study\.log'"):
                study.ask()
    study.tell(study.ask(), [1.0] * 4)


def test_what_is_no_journal_is_told(memory: Path) -> None:
    with pytest.raises(SearchError, match=r"'.*nowhere/study\.log' cannot be used"):
        SharedStorage(str(memory / "nowhere" / "study.log")).open()
    (memory / "other.log").write_text("12:00 started\n12:01 stopped\n")
    with pytest.raises(SearchError, match=r"'.*other\.log' cannot be used"):
        SharedStorage(str(memory / "other.log")).open()
