"""Whose fault a failed trial was: a study outlives machines and architectures in trouble."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fake_search import archive, fake_job, make_driver

from moenas.errors import DataError, MoENASError, SearchError
from moenas.execution.executor import WorkerDiedError
from moenas.nas import driver as driver_module
from moenas.nas.doubts import FIRST_ERROR, IN_A_ROW
from moenas.runs import RunFolder
from moenas.training.job import TrainingJob
from moenas.training.loop import OutOfTime
from moenas.training.outcome import JobResult

TRIALS = 5
LOST = "CUDA error: device-side assert triggered"


@pytest.fixture
def run(memory: Path) -> RunFolder:
    return RunFolder.create(memory / "run", "search", {})


@pytest.fixture
def failing(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Let trials fail with an error: those of some numbers, or all."""

    def fail(error: BaseException, *numbers: int) -> None:
        def job(job: TrainingJob) -> JobResult:
            if not numbers or int(Path(job.folder).name) in numbers:
                raise error
            return fake_job(job)

        monkeypatch.setattr(driver_module, "run_trial", job)

    return fail


class Book:
    """Leases as several processes hold them: each is taken once, and given back once."""

    def __init__(self) -> None:
        self.held: set[str] = set()

    def choosing(self) -> contextlib.AbstractContextManager[None]:
        return contextlib.nullcontext()

    def take(self, name: str) -> bool:
        assert name not in self.held
        self.held.add(name)
        return True

    def give_back(self, name: str) -> None:
        self.held.remove(name)


def states(run: RunFolder) -> list[str]:
    return [entry[1] for entry in archive(run.path)]


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (WorkerDiedError("The worker died."), "with: The worker died. Mend"),
        (RuntimeError(f"{LOST}\nmore"), f"with: RuntimeError: {LOST}. Mend"),
        (DataError("No images."), "with: No images. Mend"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_machine_in_trouble_costs_no_trial(
    run: RunFolder, failing: Callable[..., None], error: Exception, told: str
) -> None:
    leases = Book()
    failing(error)
    with pytest.raises(SearchError, match=rf"3 trials in a row .* {told} what") as stop:
        make_driver(run, leases=leases).run(TRIALS)
    assert "one, 2," in str(stop.value)
    assert states(run) == ["RUNNING"] * IN_A_ROW
    assert not leases.held
    failing(error, 99)  # it works again
    assert make_driver(run, leases=leases).run(TRIALS)
    assert states(run) == ["COMPLETE"] * TRIALS
    assert [FIRST_ERROR in entry[5] for entry in archive(run.path)] == [True] * 3 + [False] * 2
    assert not leases.held


def test_an_architecture_that_kills_its_worker_ends_no_search(
    run: RunFolder, failing: Callable[..., None]
) -> None:
    told: list[int] = []
    leases = Book()
    failing(WorkerDiedError("The worker died."), 1, 2, 4)  # the last one has none after it
    driver = make_driver(run, leases=leases, on_result=lambda trial: told.append(trial.number))
    assert driver.run(TRIALS)
    assert states(run) == ["COMPLETE", "FAIL", "FAIL", "COMPLETE", "FAIL"]
    assert "The worker died." in archive(run.path)[1][5]["error"]
    assert told == [0, 1, 2, 3, 4]
    assert not leases.held


def test_three_such_neighbours_stop_it_but_not_for_ever(
    run: RunFolder, failing: Callable[..., None]
) -> None:
    failing(WorkerDiedError("The worker died."), 1, 2, 3)
    for expected in ("RUNNING", "FAIL"):
        with pytest.raises(SearchError, match="one, 3, with"):
            make_driver(run).run(TRIALS)
        assert states(run) == ["COMPLETE", *[expected] * 3]
    assert make_driver(run).run(TRIALS)
    assert states(run) == ["COMPLETE", "FAIL", "FAIL", "FAIL", "COMPLETE"]


class Shared(Book):
    """Leases that another process may have."""

    def take(self, name: str) -> bool:
        return name not in self.held and super().take(name)


def test_an_outage_that_all_processes_see_costs_no_trial(
    run: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    leases = Shared()
    began: list[str] = []

    def fail(job: TrainingJob) -> JobResult:
        began.append(Path(job.folder).name)
        if len(began) == 1:  # meanwhile another process begins, and stops
            with pytest.raises(SearchError, match="3 trials in a row"):
                make_driver(run, leases=leases).run(TRIALS)
        raise DataError("The images' disk is away.")

    monkeypatch.setattr(driver_module, "run_trial", fail)
    with pytest.raises(SearchError, match="3 trials in a row"):
        make_driver(run, leases=leases).run(TRIALS)
    assert began == ["0000", "0001", "0002", "0003", "0001", "0002"]
    assert states(run) == ["RUNNING"] * 4
    assert not leases.held


def test_the_last_trials_are_left_to_who_still_works(
    run: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    leases = Shared()
    broken = False

    def job(job: TrainingJob) -> JobResult:
        nonlocal broken
        if broken:
            raise DataError("The GPU is lost.")
        if Path(job.folder).name == "0002":
            broken = True
            with pytest.raises(SearchError, match=r"0?4 failed here with: The GPU .* left to the"):
                make_driver(run, leases=leases).run(TRIALS)
            broken = False
        return fake_job(job)

    monkeypatch.setattr(driver_module, "run_trial", job)
    assert make_driver(run, leases=leases).run(TRIALS)
    assert states(run) == ["COMPLETE"] * TRIALS
    assert not leases.held


def test_what_a_training_says_of_itself_is_told_at_once(
    run: RunFolder, failing: Callable[..., None]
) -> None:
    failing(MoENASError("The loss is not finite."), 1, 2, 3, 4)
    assert make_driver(run).run(TRIALS)
    assert states(run) == ["COMPLETE", *["FAIL"] * 4]


def test_when_time_is_up_what_is_in_doubt_is_tried_again(
    run: RunFolder, failing: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    def then_late(job: TrainingJob) -> Any:
        number = int(Path(job.folder).name)
        if number:
            raise WorkerDiedError("died") if number == 1 else OutOfTime("time")
        return fake_job(job)

    leases = Book()
    monkeypatch.setattr(driver_module, "run_trial", then_late)
    assert not make_driver(run, leases=leases).run(TRIALS)
    assert states(run) == ["COMPLETE", "RUNNING", "RUNNING"]
    assert not leases.held
    failing(WorkerDiedError("died"), 1)
    assert make_driver(run, leases=leases).run(TRIALS)
    assert states(run) == ["COMPLETE", "FAIL", *["COMPLETE"] * 3]
