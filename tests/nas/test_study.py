from __future__ import annotations

import multiprocessing
import signal
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import fake_search
import optuna
import pytest
from fake_search import FLOOR, SPACE, archive, fake_job, make_driver, scores
from optuna.trial import TrialState

from inline_executor import Inline
from moenas.errors import ConfigError, RunFolderError
from moenas.models.architecture import Architecture
from moenas.models.cost import count_parameters
from moenas.nas import driver as driver_module
from moenas.nas.counting import count_feasible
from moenas.nas.objectives import PAPER_OBJECTIVES, defined_objectives
from moenas.nas.sampler import MoENASSampler
from moenas.nas.space import SearchSpace
from moenas.nas.study import (
    architecture_of,
    make_sampler,
    open_recorded_study,
    open_study,
)
from moenas.runs import RunFolder
from moenas.training.job import TrainingJob
from moenas.training.loop import OutOfTime
from moenas.training.outcome import JobResult

TRIALS = 6


@pytest.fixture
def run(memory: Path) -> RunFolder:
    return RunFolder.create(memory / "run", "search", {})


@pytest.fixture(autouse=True)
def fake_trainings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(driver_module, "run_trial", fake_job)


def states(run: RunFolder) -> list[str]:
    return [entry[1] for entry in archive(run.path)]


def trained(run: RunFolder) -> list[str]:
    return (run.path / "trials" / "trained.log").read_text().split()


# The happy path


@pytest.mark.parametrize("name", ["what?1", "a{b}", "50%20", "a#b", "a b&c=d"])
def test_its_file_is_in_the_run_folder_whatever_that_is_called(memory: Path, name: str) -> None:
    run = RunFolder.create(memory / name, "search", {})
    make_driver(run).run(1)
    assert run.study.exists()
    assert {path.name for path in memory.iterdir()} == {name}
    assert len(open_recorded_study(run).trials) == 1


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> list[tuple[Any, ...]]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(driver_module, "run_trial", fake_job)
        path = tmp_path_factory.mktemp("study") / "run"
        fake_search.drive(path, TRIALS)
    return archive(path)


def test_it_trains_as_many_as_asked(uninterrupted: list[tuple[Any, ...]]) -> None:
    assert [entry[0] for entry in uninterrupted] == list(range(TRIALS))
    assert {entry[1] for entry in uninterrupted} == {"COMPLETE"}


def test_the_first_trial_is_the_base_model(uninterrupted: list[tuple[Any, ...]]) -> None:
    assert uninterrupted[0][2] == dict.fromkeys(SPACE.names, 1)


def test_no_architecture_is_tried_twice(uninterrupted: list[tuple[Any, ...]]) -> None:
    assert len({tuple(entry[2].values()) for entry in uninterrupted}) == TRIALS


def test_what_is_stored_of_a_trial(uninterrupted: list[tuple[Any, ...]]) -> None:
    for _, _, params, values, constraints, attributes in uninterrupted:
        experts = tuple(params[name] for name in SPACE.names)
        told = fake_search.formula(experts)
        assert values == [getattr(told, name) for name in PAPER_OBJECTIVES]
        assert constraints == {"accuracy": FLOOR - told.balanced_accuracy}
        assert attributes["architecture"] == Architecture(SPACE.base, experts).id
        assert attributes["parameters"] == count_parameters(SPACE.base, experts)
        assert attributes["macs"] == 2


def test_nothing_above_the_size_limit_is_tried(uninterrupted: list[tuple[Any, ...]]) -> None:
    assert SPACE.max_parameters is not None
    assert all(entry[5]["parameters"] <= SPACE.max_parameters for entry in uninterrupted)


def test_the_same_seed_gives_the_same_archive(
    uninterrupted: list[tuple[Any, ...]], memory: Path
) -> None:
    fake_search.drive(memory / "again", TRIALS)
    assert archive(memory / "again") == uninterrupted


def test_a_longer_search_goes_on_from_a_shorter_one(
    uninterrupted: list[tuple[Any, ...]], run: RunFolder
) -> None:
    for trials in (0, 3, 3, TRIALS):
        fake_search.drive(run.path, trials)
        assert len(archive(run.path)) == max(trials, 1)  # the enqueued one waits
    assert archive(run.path) == uninterrupted
    assert len(trained(run)) == TRIALS


# Kill -9


def die(path: Path, at: int) -> int | None:
    """Search in a process of its own that is killed at a write; return its exit code."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["moenas.nas.study", "moenas.nas.sampler"])
    process = context.Process(target=fake_search.drive, args=(path, TRIALS, at))
    process.start()
    process.join(120)
    return process.exitcode


MORE_MOMENTS = (1, 4, 13, 15, 24, 40, 50, 57, 157)


@pytest.mark.parametrize(
    "at", [8, 27, 140, *(pytest.param(at, marks=pytest.mark.slow) for at in MORE_MOMENTS)]
)
def test_killed_at_any_moment_the_archive_is_the_same(
    uninterrupted: list[tuple[Any, ...]], memory: Path, at: int
) -> None:
    assert die(memory / "run", at) == -signal.SIGKILL
    fake_search.drive(memory / "run", TRIALS)
    assert archive(memory / "run") == uninterrupted
    assert sorted(trained(RunFolder(memory / "run"))) == [f"{n:04d}" for n in range(TRIALS)]


@pytest.mark.slow
def test_killed_again_and_again_it_still_ends(
    uninterrupted: list[tuple[Any, ...]], memory: Path
) -> None:
    deaths = 0
    for at in (12, 20, 30, 40, 50, 60, 10**6):
        deaths += die(memory / "run", at) == -signal.SIGKILL
    assert deaths >= 5
    assert archive(memory / "run") == uninterrupted
    assert sorted(trained(RunFolder(memory / "run"))) == [f"{n:04d}" for n in range(TRIALS)]


def test_killed_between_two_dense_models_both_are_the_first_trials(
    memory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    space = SearchSpace("mobilevitv2_050", 9, wider=("mobilevitv2_075",))
    enqueue, calls = optuna.Study.enqueue_trial, iter(range(9))

    def once(study: optuna.Study, *arguments: Any, **options: Any) -> None:
        if next(calls):
            raise KeyboardInterrupt
        enqueue(study, *arguments, **options)

    whole, killed = (RunFolder.create(memory / n, "search", {}) for n in ("whole", "killed"))
    with monkeypatch.context() as patch:
        patch.setattr(optuna.Study, "enqueue_trial", once)
        with pytest.raises(KeyboardInterrupt):
            make_driver(killed, space=space)
    for run in (whole, killed):
        for trials in (1, 3):  # it goes on, too
            assert make_driver(run, space=space).run(trials)
    found = archive(whole.path)
    dense = [f"{base}-e111111111" for base in space.bases]
    assert [entry[5]["architecture"] for entry in found[:2]] == dense
    assert len(found) == 3
    assert archive(killed.path) == found


# Several workers


class Together(Inline):
    """An executor that hands work back only when all of its workers have some."""

    def __init__(self, workers: int) -> None:
        self.workers = workers
        self.waiting: list[tuple[Future[Any], Any, Any]] = []
        self.most = 0

    def submit(self, function: Any, /, *arguments: Any) -> Future[Any]:
        future: Future[Any] = Future()
        self.waiting.append((future, function, arguments))
        self.most = max(self.most, len(self.waiting))
        if len(self.waiting) == self.workers:
            for one, work, values in reversed(self.waiting):
                one.set_result(work(*values))
            self.waiting.clear()
        return future


def test_several_workers_get_different_architectures(run: RunFolder) -> None:
    executor = Together(3)
    assert make_driver(run, executor=executor).run(9)
    assert executor.most == 3
    found = archive(run.path)
    assert {entry[1] for entry in found} == {"COMPLETE"}
    assert len({tuple(entry[2].values()) for entry in found}) == 9


# What goes wrong


def test_a_failed_trial_is_told_with_its_error_and_the_others_go_on(
    run: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    def sometimes(job: TrainingJob) -> JobResult:
        if job.folder.endswith("0002"):
            raise MemoryError("too large for this machine")
        return fake_job(job)

    monkeypatch.setattr(driver_module, "run_trial", sometimes)
    told: list[int] = []
    driver = make_driver(run, on_result=lambda trial: told.append(trial.number))
    assert driver.run(5)
    found = archive(run.path)
    assert [entry[1] for entry in found] == ["COMPLETE", "COMPLETE", "FAIL", *["COMPLETE"] * 2]
    assert found[2][3] is None  # never scored badly
    assert "MemoryError: too large for this machine" in found[2][5]["error"]
    assert "in sometimes" in found[2][5]["error"]  # where
    assert told == [0, 1, 2, 3, 4]


def test_out_of_time_a_trial_stays_to_be_taken_up(
    run: RunFolder, monkeypatch: pytest.MonkeyPatch, uninterrupted: list[tuple[Any, ...]]
) -> None:
    def late(job: TrainingJob) -> JobResult:
        if job.folder.endswith("0003"):
            raise OutOfTime("time")
        return fake_job(job)

    with monkeypatch.context() as patch:
        patch.setattr(driver_module, "run_trial", late)
        assert not make_driver(run).run(TRIALS)
    assert states(run) == ["COMPLETE"] * 3 + ["RUNNING"]
    assert make_driver(run).run(TRIALS)
    assert archive(run.path) == uninterrupted


def test_nothing_starts_when_the_time_is_needed_elsewhere(run: RunFolder) -> None:
    answers = iter([True, True, False])
    assert not make_driver(run).run(TRIALS, lambda: next(answers))
    assert states(run) == ["COMPLETE"] * 2


def test_scores_that_are_no_numbers_fail_the_trial_alone(
    run: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    def job(job: TrainingJob) -> JobResult:
        result = fake_job(job)
        if job.folder.endswith("0001"):
            broken = scores(balanced_accuracy=0.8, fairness=None, robustness=0.1, overfitting=0.0)
            return JobResult({"search": broken}, 1.0, None)
        return result

    monkeypatch.setattr(driver_module, "run_trial", job)
    assert make_driver(run).run(3)
    assert states(run) == ["COMPLETE", "FAIL", "COMPLETE"]
    assert "fairness" in archive(run.path)[1][5]["error"]


def test_a_size_limit_that_only_a_few_meet_ends_the_search(run: RunFolder) -> None:
    space = SearchSpace("mobilevitv2_050", 9, max_parameters=SPACE.smallest + 40_000)
    assert count_feasible(space, 100) == 10
    assert make_driver(run, space=space).run(50)
    found = archive(run.path)
    assert len(found) == 10
    assert {entry[1] for entry in found} == {"COMPLETE"}
    assert make_driver(run, space=space).run(50)  # again: nothing to do
    assert archive(run.path) == found


def test_counting_stops_when_there_are_enough() -> None:
    assert count_feasible(SPACE, 1000) == 1000
    assert count_feasible(SearchSpace("mobilevitv2_050", 9, high=2), 10**6) == 2**9
    tight = SearchSpace("mobilevitv2_050", 9, max_parameters=SPACE.smallest)
    assert count_feasible(tight, 10) == 1
    wide = ("mobilevitv2_075",)
    assert count_feasible(SearchSpace("mobilevitv2_050", 9, high=2, wider=wide), 10**6) == 2**10
    tight = SearchSpace("mobilevitv2_050", 9, max_parameters=SPACE.smallest, wider=wide)
    assert count_feasible(tight, 10) == 1  # no wider model is small enough


def test_a_study_of_two_widths_trains_both_within_the_limit(run: RunFolder) -> None:
    space = SearchSpace("mobilevitv2_050", 9, max_parameters=2_600_000, wider=("mobilevitv2_075",))
    assert make_driver(run, space=space).run(24)
    trials = open_study(run, PAPER_OBJECTIVES, MoENASSampler()).get_trials()
    found = [architecture_of(trial, "mobilevitv2_050") for trial in trials]
    assert {architecture.base for architecture in found} == set(space.bases)
    assert len(set(found)) == 24
    for trial, architecture in zip(trials, found, strict=True):
        assert trial.user_attrs["architecture"] == architecture.id
        size = count_parameters(architecture.base, architecture.experts)
        assert trial.user_attrs["parameters"] == size <= 2_600_000
    assert found[0].id == "mobilevitv2_050-e111111111"


# Studies


def test_a_damaged_study_is_told(run: RunFolder) -> None:
    run.study.write_bytes(b"not a database" * 100)
    with pytest.raises(RunFolderError, match=r"study\.db' cannot be opened"):
        make_driver(run)
    with pytest.raises(RunFolderError, match=r"study\.db' cannot be read"):
        open_recorded_study(run)


def test_a_missing_study_is_told_and_not_made(run: RunFolder) -> None:
    with pytest.raises(RunFolderError, match=r"has no study\.db"):
        open_recorded_study(run)
    assert not run.study.exists()


def test_a_renamed_run_keeps_its_study(run: RunFolder) -> None:
    make_driver(run).run(2)
    moved = run.path.rename(run.path.with_name("renamed"))
    study = open_recorded_study(RunFolder.open(moved))
    assert len(study.trials) == 2
    assert tuple(study.user_attrs["objectives"]) == PAPER_OBJECTIVES


def test_data_without_groups_has_no_fairness_to_search_for(
    run: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = scores(balanced_accuracy=0.8, fairness=None, robustness=None, overfitting=0.1)
    objectives = defined_objectives(plain, PAPER_OBJECTIVES)
    assert objectives == ("balanced_accuracy", "generalisation")
    monkeypatch.setattr(
        driver_module, "run_trial", lambda job: JobResult({"search": plain}, 1.0, None)
    )
    driver = make_driver(RunFolder.create(run.path.with_name("other"), "search", {}))
    driver.study = open_study(run, objectives, driver.study.sampler)
    driver.objectives = objectives
    assert driver.run(2)
    assert [entry[3] for entry in archive(run.path)] == [[0.8, -0.1]] * 2


@pytest.mark.parametrize("name", ["mixture", "paper", "random"])
def test_every_sampler_proposes_what_fits(name: str) -> None:
    sampler = make_sampler(name, SPACE, seed=1)
    study = optuna.create_study(directions=["maximize"] * 4, sampler=sampler)
    for _ in range(3):
        trial = study.ask(SPACE.distributions())
        study.tell(trial, [0.0] * 4)
    vectors = [architecture_of(t, SPACE.base).experts for t in study.trials]
    assert SPACE.feasible(vectors).all()
    assert len(set(vectors)) == 3


def test_an_unknown_sampler_suggests_one() -> None:
    with pytest.raises(ConfigError, match="Did you mean 'mixture'"):
        make_sampler("mixtur", SPACE, 0)


def test_a_trial_knows_its_architecture() -> None:
    params = {f"e{layer}": layer for layer in range(1, 9)} | {"e9": 3}
    trial = optuna.create_trial(
        state=TrialState.COMPLETE, values=[1.0], params=params, distributions=SPACE.distributions()
    )
    assert architecture_of(trial, SPACE.base).experts == (1, 2, 3, 4, 5, 6, 7, 8, 3)
