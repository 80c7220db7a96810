"""Studies of any length without trainings: what a search leaves, in seconds.

Architectures are random ones within the size limit; their scores are a noisy formula. Studies are
written to the database as Optuna writes them, many rows at once: seconds instead of minutes.
"""

from __future__ import annotations

import dataclasses
import json
import math
import sqlite3
import time
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import numpy as np

from moenas.evaluation.scores import Scores
from moenas.models.architecture import Architecture
from moenas.nas.objectives import PAPER_OBJECTIVES
from moenas.nas.space import SearchSpace
from moenas.nas.study import StudyDriver, make_sampler, open_study
from moenas.runs import RunFolder
from moenas.training.job import DataReference, TrainingJob
from moenas.training.outcome import JobResult
from moenas.training.schemes import SCHEMES

SPACE = SearchSpace("mobilevitv2_050", 9, max_parameters=3_000_000)
FLOOR = 0.7
NOISE = 0.01  # of each objective; they range over 0.05 to 0.2


def scores_of(experts: tuple[int, ...]) -> Scores:
    """Conflicting objectives; the noise belongs to the architecture."""
    share = [(n - 1) / 7 for n in experts]
    noise = np.random.default_rng(experts).normal(0, NOISE, 4).tolist()
    values: dict[str, Any] = {field.name: None for field in dataclasses.fields(Scores)}
    values |= {"split": "search", "n": 4000, "threshold": 0.5, "parameters": 1, "macs": 65_489_152}
    values |= {"groups": (), "lights": (), "intervals": {}}
    values |= {
        "balanced_accuracy": 0.68 + 0.15 * math.sqrt(sum(share[:3]) / 3) + noise[0],
        "fairness": 0.9 - 0.2 * sum(share[2:5]) / 3 + 0.05 * share[1] * share[7] + noise[1],
        "robustness": 0.5 + 0.2 * share[4] - 0.1 * share[5] + 0.1 * share[8] ** 2 + noise[2],
        "overfitting": 0.1 * share[0] * share[3] - 0.05 * share[6] + noise[3],
    }
    return Scores(**values)


def result_of(architecture: str) -> JobResult:
    """What a training of it returns."""
    return JobResult({"search": scores_of(Architecture.parse(architecture).experts)}, 20.0, None)


def make_driver(run: RunFolder, executor: Any, **options: Any) -> StudyDriver:
    """The driver as a search makes it."""
    study = open_study(run, PAPER_OBJECTIVES, make_sampler("mixture", SPACE, 0))

    def job(number: int, architecture: Architecture, rung: int) -> TrainingJob:
        return TrainingJob(
            architecture=architecture.id,
            folder=str(run.trial(number).path),
            data=DataReference("", "", 32),
            scheme=SCHEMES["mobilevitv2"],
            seed=0,
        )

    return StudyDriver(study, SPACE, PAPER_OBJECTIVES, executor, job, FLOOR, **options)


class AtOnce:
    """An executor of one worker that trains in no time."""

    workers = 1

    def submit(self, function: Any, job: TrainingJob) -> Future[JobResult]:
        """Return a future that is done."""
        future: Future[JobResult] = Future()
        future.set_result(result_of(job.architecture))
        return future


def fill(database: Path, trials: int, running: int = 0) -> None:
    """Add complete trials to a study that has one, made by the driver, whose rows are the pattern.

    Args:
        database: SQLite file with one study.
        trials: How many there will be.
        running: How many of them still run, the last ones.
    """
    X = np.unique(SPACE.sample(2 * trials, np.random.default_rng(1)), axis=0)
    X = np.random.default_rng(2).permutation(X)
    with sqlite3.connect(database) as file:
        (key,) = file.execute("SELECT study_id FROM studies").fetchone()
        pattern = {
            table: file.execute(f"SELECT {columns} FROM {table} WHERE trial_id = 1").fetchall()
            for table, columns in (
                ("trial_params", "param_name, distribution_json"),
                ("trial_user_attributes", "key, value_json"),
            )
        }
        there = {tuple(row) for row in _vectors(file)}
        count = len(there)
        vectors = [row for row in map(tuple, X.tolist()) if row not in there][: trials - count]
        rows: dict[str, list[tuple[Any, ...]]] = {
            "trials (trial_id, number, study_id, state, datetime_start, datetime_complete)": [],
            "trial_params (trial_id, param_name, param_value, distribution_json)": [],
            "trial_values (trial_id, objective, value, value_type)": [],
            "trial_user_attributes (trial_id, key, value_json)": [],
            "trial_system_attributes (trial_id, key, value_json)": [],
        }
        trial, param, value, user, system = rows.values()
        costs = SPACE.parameters(np.array(vectors))
        for number, (experts, parameters) in enumerate(
            zip(vectors, costs.tolist(), strict=True), start=count
        ):
            own = number + 1  # as the database counts them
            runs = number >= trials - running
            when = f"2026-01-{1 + number // 86400:02d} " + time.strftime("%T", time.gmtime(number))
            ends = None if runs else f"{when}.500000"
            state = "RUNNING" if runs else "COMPLETE"
            trial.append((own, number, key, state, f"{when}.000000", ends))
            params = dict(zip(SPACE.names, experts, strict=True))
            param += [(own, name, params[name], kind) for name, kind in pattern["trial_params"]]
            system.append((own, "moenas:params", json.dumps(params)))
            if runs:
                continue
            scores = scores_of(experts)
            values = (scores.balanced_accuracy, scores.fairness, scores.robustness,
                      -abs(scores.overfitting or 0.0))  # fmt: skip
            value += [(own, at, measured, "FINITE") for at, measured in enumerate(values)]
            known = dict(pattern["trial_user_attributes"]) | {
                "architecture": json.dumps(Architecture("mobilevitv2_050", experts).id),
                "parameters": json.dumps(parameters),
            }
            user += [(own, name, text) for name, text in known.items()]
            violation = FLOOR - (scores.balanced_accuracy or 0.0)
            system.append((own, "constraints:accuracy", json.dumps(violation)))
        for table, content in rows.items():
            marks = ", ".join("?" * len(content[0]))
            file.executemany(f"INSERT INTO {table} VALUES ({marks})", content)


def _vectors(file: sqlite3.Connection) -> list[list[int]]:
    """The expert counts of the trials that are there."""
    found: dict[int, list[int]] = {}
    query = "SELECT trial_id, param_value FROM trial_params ORDER BY trial_id, param_name"
    for trial, value in file.execute(query):
        found.setdefault(trial, []).append(int(value))
    return list(found.values())


def make_study(path: Path, trials: int, running: int = 0) -> RunFolder:
    """Make a run folder whose study has so many trials, see `fill` (no folders of trials)."""
    run = RunFolder.create(path, "search", {"base": "mobilevitv2_050", "trials": trials})
    make_driver(run, AtOnce()).run(1)
    fill(run.study, trials, running)
    return run
