"""Successive halving in a study: who goes on, what is told of the others, and kill -9."""

from __future__ import annotations

import multiprocessing
import signal
from pathlib import Path
from typing import Any

import fake_search
import numpy as np
import pytest
from fake_search import EPOCHS, FLOOR, SPACE, archive, fake_job, make_driver

from moenas.models.architecture import Architecture
from moenas.nas import driver as driver_module
from moenas.nas import study as study_module
from moenas.nas.finalists import choose_finalists
from moenas.nas.halving import Halving
from moenas.nas.objectives import PAPER_OBJECTIVES
from moenas.nas.records import search_record, trial_records
from moenas.nas.rungs import FULL_LENGTH, RUNGS
from moenas.runs import RunFolder

TRIALS, SHORT = 16, 10


@pytest.fixture(autouse=True)
def fake(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(driver_module, "run_trial", fake_job)


def trained(run: RunFolder) -> list[str]:
    return (run.path / "trials" / "trained.log").read_text().split()


def searched(folder: Path, trials: int, rungs: int) -> RunFolder:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(driver_module, "run_trial", fake_job)
        fake_search.drive(folder / "run", trials, rungs=rungs)
    return RunFolder.open(folder / "run")


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    return searched(tmp_path_factory.mktemp("rungs"), TRIALS, rungs=3)


def test_few_are_trained_fully_and_none_twice(finished: RunFolder) -> None:
    log = trained(finished)
    assert len(log) == len(set(log))
    shortest = [name for name in log if name.endswith("rung-0")]
    middle = [name for name in log if name.endswith("rung-1")]
    full = [name for name in log if "/" not in name]
    assert len(shortest) == TRIALS
    assert TRIALS > len(middle) > len(full) >= 2
    assert full[0] == "0000"  # the base model always


def test_what_is_told_of_a_short_one_is_a_guess_and_no_candidate(finished: RunFolder) -> None:
    study = study_module.open_recorded_study(finished)
    short = [t for t in study.trials if FULL_LENGTH in t.constraints]
    full = [t for t in study.trials if FULL_LENGTH not in t.constraints]
    assert short
    assert full
    signs = [1 if d.name == "MAXIMIZE" else -1 for d in study.directions]
    assert signs == [1, 1, 1, 1]
    for trial in short:
        rung = len(trial.user_attrs[RUNGS]["values"]) - 1
        assert trial.constraints == {FULL_LENGTH: 2 - rung}
        told = fake_search.formula(experts(trial), EPOCHS)
        assert trial.values[0] == pytest.approx(told.balanced_accuracy, abs=1e-9)
        measured = trial.user_attrs[RUNGS]["values"][-1][0]
        assert measured < told.balanced_accuracy  # it was shorter
        assert trial.user_attrs["seconds"] == rung + 1
    for trial in full:
        told = fake_search.formula(experts(trial), EPOCHS)
        assert trial.values == [getattr(told, name) for name in PAPER_OBJECTIVES]
        assert trial.constraints == {"accuracy": FLOOR - told.balanced_accuracy}
    chosen = choose_finalists(study, SPACE.base, 1_114_107, 2_000_000)
    assert {f.trial for f in chosen} <= {t.number for t in full}


def experts(trial: Any) -> tuple[int, ...]:
    return tuple(trial.params[name] for name in SPACE.names)


def test_the_records_tell_which_are_short(finished: RunFolder) -> None:
    study = study_module.open_recorded_study(finished)
    records = trial_records(study, PAPER_OBJECTIVES)
    short = [r for r in records if "rung" in r]
    assert search_record(study)["short"] == len(short) > 0
    for record in short:
        assert record["feasible"] is None
        assert record["on_front"] is False
        assert "balanced_accuracy" not in record  # no chart may show a guess
        told = fake_search.formula(tuple(record["experts"]), EPOCHS * 3.0 ** (record["rung"] - 2))
        assert record["measured"]["balanced_accuracy"] == pytest.approx(told.balanced_accuracy)


def test_who_goes_on_is_decided_among_those_of_the_same_rung(finished: RunFolder) -> None:
    study = study_module.open_recorded_study(finished)
    notes = [trial.user_attrs[RUNGS] for trial in study.trials[1:]]  # one worker: in this order
    for rung in range(2):
        here = [note for note in notes if len(note["values"]) > rung]
        for last in range(len(here)):
            values = np.array([note["values"][rung] for note in here[: last + 1]])
            best = Halving(3).goes_on(values, np.ones(last + 1, dtype=bool))
            assert best == (len(here[last]["values"]) > rung + 1)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    return searched(tmp_path_factory.mktemp("whole"), SHORT, rungs=2)


MORE_MOMENTS = (9, 16, 25, 33, 47, 81)


@pytest.mark.parametrize(
    "at", [21, 60, *(pytest.param(at, marks=pytest.mark.slow) for at in MORE_MOMENTS)]
)
def test_killed_at_any_moment_the_archive_is_the_same(
    whole: RunFolder, tmp_path: Path, at: int
) -> None:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["moenas.nas.study", "moenas.nas.sampler"])
    arguments = (tmp_path / "run", SHORT, at, 2)
    process = context.Process(target=fake_search.drive, args=arguments)
    process.start()
    process.join(120)
    assert process.exitcode == -signal.SIGKILL
    fake_search.drive(tmp_path / "run", SHORT, rungs=2)
    assert archive(tmp_path / "run") == archive(whole.path)
    assert sorted(trained(RunFolder(tmp_path / "run"))) == sorted(trained(whole))


def test_without_time_a_promising_trial_waits(tmp_path: Path) -> None:
    run = RunFolder.create(tmp_path / "run", "search", {})
    asked = 0

    def once() -> bool:
        nonlocal asked
        asked += 1
        return asked == 1

    assert not make_driver(run, rungs=2).run(SHORT, once)
    assert trained(run) == ["0000/rung-0"]  # the base goes on, but not now
    assert archive(run.path)[0][1] == "RUNNING"
    fake_search.drive(run.path, SHORT, rungs=2)
    assert trained(run)[:2] == ["0000/rung-0", "0000"]
    assert {entry[1] for entry in archive(run.path)} == {"COMPLETE"}


def test_the_first_architecture_with_experts_goes_on(finished: RunFolder) -> None:
    study = study_module.open_recorded_study(finished)
    assert FULL_LENGTH not in study.trials[1].constraints


def test_dense_models_are_always_trained_fully(finished: RunFolder) -> None:
    study = study_module.open_recorded_study(finished)
    assert Architecture.dense_base(SPACE.base).experts == experts(study.trials[0])
    assert FULL_LENGTH not in study.trials[0].constraints
