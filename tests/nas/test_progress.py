from __future__ import annotations

from typing import Any

import fake_search
import numpy as np
import optuna
import pytest
from fake_search import fake_job, make_driver
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState, create_trial

from moenas.nas import driver as driver_module
from moenas.nas import study as study_module
from moenas.nas.objectives import PAPER_OBJECTIVES
from moenas.nas.progress import SearchProgress
from moenas.nas.progress_view import line
from moenas.nas.records import search_record
from moenas.nas.rungs import FULL_LENGTH
from moenas.nas.study_file import sqlite_url
from moenas.runs import RunFolder
from moenas.training.job import TrainingJob

UP, DOWN = StudyDirection.MAXIMIZE, StudyDirection.MINIMIZE


def finished(number: int, *values: float, over: float = 0.0, seconds: float = 10.0) -> FrozenTrial:
    """A trial; ``over`` says by how much it breaks its constraint, no values that it failed."""
    known: dict[str, Any] = {"user_attrs": {"architecture": f"net-e{number}", "seconds": seconds}}
    if values:
        trial = create_trial(values=list(values), constraints={"accuracy": over}, **known)
    else:
        trial = create_trial(state=TrialState.FAIL, **known)
    trial.number = number
    return trial


def two(total: int = 10, workers: int = 1) -> SearchProgress:
    return SearchProgress(("accuracy", "latency"), [UP, DOWN], total, workers)


def bests(progress: SearchProgress) -> list[int | None]:
    return [best.number if best else None for best in progress.best]


def test_nothing_yet() -> None:
    progress = two()
    assert (progress.done, progress.failed, progress.infeasible) == (0, 0, 0)
    assert bests(progress) == [None, None]
    assert progress.last is None
    assert progress.seconds_left is None


def test_the_best_of_each_objective_is_feasible_and_in_its_direction() -> None:
    progress = two()
    progress.finish(finished(0, 0.7, 30.0))
    assert bests(progress) == [0, 0]
    progress.finish(finished(1, 0.9, 5.0, over=0.1))
    assert bests(progress) == [0, 0]
    progress.finish(finished(2, 0.8, 40.0))
    assert bests(progress) == [2, 0]
    progress.finish(finished(3, 0.6, 20.0))
    assert bests(progress) == [2, 3]
    progress.finish(finished(4, 0.8, 20.0))  # as good: the first one stays
    assert bests(progress) == [2, 3]
    assert (progress.done, progress.infeasible, progress.front.size) == (5, 1, 1)


def test_the_last_result() -> None:
    progress = two()
    progress.finish(finished(0, 0.7, 30.0))
    assert progress.last is not None
    assert progress.last.values == (0.7, 30.0)  # as measured, whatever the direction
    assert progress.last.on_front
    progress.finish(finished(1, 0.6, 40.0))
    assert not progress.last.on_front
    progress.finish(finished(2))
    assert progress.last.architecture == "net-e2"
    assert progress.last.values == ()
    assert (progress.done, progress.failed) == (3, 1)


def test_a_guess_is_no_result() -> None:
    progress = two()
    progress.finish(finished(0, 0.7, 30.0))
    short = create_trial(
        values=[0.9, 1.0],
        constraints={FULL_LENGTH: 1.0},
        user_attrs={"architecture": "net-e1", "seconds": 5.0},
    )
    short.number = 1
    progress.finish(short)
    assert bests(progress) == [0, 0]
    assert (progress.done, progress.stopped, progress.infeasible) == (2, 1, 0)
    assert progress.last is not None
    assert (progress.last.values, progress.last.stopped) == ((), True)
    assert "net-e1: stopped early" in line(progress)


def test_the_time_left_is_shared_by_the_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr("moenas.nas.progress.time.monotonic", lambda: now)
    progress = two(total=10, workers=4)
    progress.finish(finished(0, 0.7, 30.0, seconds=10.0))
    progress.finish(finished(1, 0.7, 30.0, seconds=30.0))
    assert progress.seconds_left == pytest.approx(8 * 20 / 4)
    now += 15
    assert progress.seconds_left == pytest.approx(25)
    assert progress.elapsed == pytest.approx(15)
    now += 1000
    assert progress.seconds_left == 0
    for number in range(2, 12):  # more than were asked for
        progress.finish(finished(number))
    assert progress.seconds_left == 0


def test_running_trials_and_their_epochs(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    """The driver tells what it starts; the epochs are in the trial's folder."""
    seen: list[tuple[int, int, int]] = []
    run = RunFolder.create(tmp_path / "run", "search", {})
    progress = SearchProgress(PAPER_OBJECTIVES, [UP] * 4, 3)

    def train(job: TrainingJob) -> Any:
        ((number, running),) = progress.running.items()
        assert running.architecture == job.architecture
        before = running.epochs_done()
        running.folder.path.mkdir(parents=True, exist_ok=True)
        running.folder.history.write_text("{}\n{}\n")
        seen.append((number, before, running.epochs_done()))
        assert running.epochs == job.scheme.epochs
        return fake_job(job)

    monkeypatch.setattr(driver_module, "run_trial", train)
    make_driver(run, on_start=progress.start, on_result=progress.finish).run(3)
    assert seen == [(0, 0, 2), (1, 0, 2), (2, 0, 2)]
    assert progress.running == {}
    assert progress.done == 3


def test_a_search_that_goes_on_starts_from_its_study(
    monkeypatch: pytest.MonkeyPatch, memory: Any
) -> None:
    """What was told trial by trial equals what the study's file says, and the summary."""
    monkeypatch.setattr(driver_module, "run_trial", fake_job)
    run = RunFolder.create(memory / "run", "search", {})
    told = SearchProgress(PAPER_OBJECTIVES, [UP] * 4, 8)
    driver = make_driver(run, on_result=told.finish)
    driver.run(8)
    read = SearchProgress.of(driver.study, PAPER_OBJECTIVES, 8)
    assert read.best == told.best
    assert read.last == told.last
    assert (read.done, read.infeasible) == (told.done, told.infeasible)
    assert read.infeasible > 0
    assert read.front.size == told.front.size
    summary = search_record(driver.study)
    assert read.infeasible == summary["infeasible"]
    assert read.front.hypervolume == pytest.approx(summary["hypervolume"][-1], abs=1e-6)
    for i, best in enumerate(read.best):
        values = [t.values[i] for t in driver.study.trials if study_module.is_feasible(t)]
        assert best is not None
        assert best.values[i] == np.max(values)


def test_plots_of_the_study_know_the_objectives(memory: Any) -> None:
    """Also when the study is opened again, and in one made before they were named."""
    run = RunFolder.create(memory / "run", "search", {})
    optuna.create_study(
        storage=sqlite_url(run.study), study_name=study_module.STUDY_NAME, directions=[UP] * 4
    )
    for _ in range(2):
        study = fake_search.make_driver(run).study
        assert study.metric_names == list(PAPER_OBJECTIVES)
