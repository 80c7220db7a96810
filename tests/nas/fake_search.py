"""A search whose trainings are a formula: the study's logic is tested in milliseconds a trial."""

from __future__ import annotations

import dataclasses
import math
import os
import signal
import time
from pathlib import Path
from typing import Any

import optuna
import sqlalchemy.orm

from inline_executor import Inline
from moenas.evaluation.scores import Scores
from moenas.models.architecture import Architecture
from moenas.nas import driver as driver_module
from moenas.nas import leases
from moenas.nas.halving import Halving
from moenas.nas.leases import FileLeases
from moenas.nas.objectives import PAPER_OBJECTIVES
from moenas.nas.rungs import Rungs
from moenas.nas.sampler import MoENASSampler
from moenas.nas.space import SearchSpace
from moenas.nas.storage import SharedStorage, announce
from moenas.nas.study import STUDY_NAME, StudyDriver, enqueue_dense, open_study
from moenas.nas.study_file import sqlite_url
from moenas.runs import RunFolder
from moenas.training.job import DataReference, TrainingJob
from moenas.training.outcome import JobResult
from moenas.training.schemes import SCHEMES

SPACE = SearchSpace("mobilevitv2_050", 9, max_parameters=2_000_000)
FLOOR = 0.7
EPOCHS = 9.0


def scores(**values: Any) -> Scores:
    """Scores of some model; only ``values`` matter."""
    empty: dict[str, Any] = {field.name: None for field in dataclasses.fields(Scores)}
    known = {"split": "search", "n": 10, "threshold": 0.5, "parameters": 1, "macs": 2}
    return Scores(**{**empty, "groups": (), "lights": (), "intervals": {}, **known, **values})


def formula(experts: tuple[int, ...], epochs: float = EPOCHS) -> Scores:
    """Smooth, conflicting objectives; some architectures are below `FLOOR`; less when short."""
    share = [(n - 1) / 7 for n in experts]
    return scores(
        balanced_accuracy=0.05 * math.log(epochs / EPOCHS) + 0.68 + 0.2 * sum(share[:3]) / 3,
        fairness=0.9 - 0.3 * sum(share[2:5]) / 3,
        robustness=0.5 + 0.3 * share[4] - 0.2 * share[5],
        overfitting=0.1 * share[0] - 0.05,
    )


def fake_job(job: TrainingJob) -> JobResult:
    """Like `run_job`: idempotent; each real training leaves a line in ``trained.log``."""
    folder = Path(job.folder)
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / "scores.json").exists():
        trials = next(parent for parent in folder.parents if parent.name == "trials")
        with (trials / "trained.log").open("a") as log:
            log.write(f"{folder.relative_to(trials)}\n")
        (folder / "scores.json").write_text("{}")
    found = formula(Architecture.parse(job.architecture).experts, job.scheme.epochs)
    return JobResult({"search": found}, 1.0, None)


def make_driver(
    run: RunFolder,
    *,
    space: SearchSpace = SPACE,
    executor: Any = None,
    rungs: int = 1,
    shared: SharedStorage | None = None,
    initial: int = 5,
    **options: Any,
) -> StudyDriver:
    """The driver as a search makes it, with a sampler that starts to model early."""
    sampler = MoENASSampler(
        seed=0,
        constraint=space.constraint,
        search_space=space.distributions(),
        initial=initial,
        batch=1,
    )
    study = open_study(run, PAPER_OBJECTIVES, sampler, shared)
    enqueue_dense(study, space)
    if shared is not None:
        announce(run, shared, study)
        options["leases"] = FileLeases(run)

    halving = Halving(rungs)

    def job(number: int, architecture: Architecture, rung: int) -> TrainingJob:
        folder = run.trial(number) if rung == halving.last else run.rung(number, rung)
        epochs = EPOCHS * halving.share(rung)
        return TrainingJob(
            architecture=architecture.id,
            folder=str(folder.path),
            data=DataReference("", "", 32),
            scheme=dataclasses.replace(SCHEMES["mobilevitv2"], epochs=epochs),
            seed=0,
        )

    if rungs > 1:
        options["rungs"] = Rungs(study, halving, margin=0.1)

    chosen = executor or Inline()
    return StudyDriver(study, space, PAPER_OBJECTIVES, chosen, job, FLOOR, **options)


def drive(path: Path, trials: int, die_at: int | None = None, rungs: int = 1) -> None:
    """Search in this process; with ``die_at``, be killed at that commit to the storage."""
    driver_module.run_trial = fake_job  # type: ignore[assignment]
    if die_at is not None:
        _die_at(die_at)
    make_driver(RunFolder.create(path, "search", {}), rungs=rungs).run(trials)


def work_along(path: Path, storage: str, trials: int, deaths: int = 0) -> None:
    """Be one of several processes that search; with ``deaths``, be killed in that training."""
    began = 0

    def slow_job(job: TrainingJob) -> JobResult:
        nonlocal began
        began += 1
        note(path, f"begins {Path(job.folder).name} {os.getpid()}")
        time.sleep(0.1)
        if began == deaths:
            os.kill(os.getpid(), signal.SIGKILL)
        result = fake_job(job)
        note(path, f"ends {Path(job.folder).name} {os.getpid()}")
        return result

    driver_module.run_trial = slow_job
    leases.PATIENCE = 0.3
    run, shared = RunFolder.open(path), SharedStorage(storage)
    make_driver(run, shared=shared, initial=trials).run(trials)  # a model's time is not in question


def note(path: Path, line: str) -> None:
    """Add a line to the notes of all processes."""
    with (path / "notes.log").open("a") as log:
        log.write(f"{line}\n")


def archive(path: Path) -> list[tuple[Any, ...]]:
    """What a search has found: all of its trials but for times."""
    study = optuna.load_study(study_name=STUDY_NAME, storage=sqlite_url(RunFolder.open(path).study))
    return [
        (t.number, t.state.name, t.params, t.values, t.constraints, t.user_attrs)
        for t in study.get_trials()
    ]


def _die_at(number: int) -> None:
    left = number
    commit = sqlalchemy.orm.Session.commit

    def deadly(session: sqlalchemy.orm.Session) -> None:
        nonlocal left
        left -= 1
        if left <= 0:
            os.kill(os.getpid(), signal.SIGKILL)
        commit(session)

    sqlalchemy.orm.Session.commit = deadly  # type: ignore[method-assign]
