"""Add an objective, and search over it with a study driver of your own.

The objective is the accuracy of the worst group. The model is not trained here: the driver's
executor runs a stand-in for training, so that the example takes seconds. Put `LocalExecutor(4)` and
`run_job` in its place and it is a real search.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from moenas import Architecture, MoENASSampler, Predictions
from moenas.evaluation.scores import score
from moenas.models.cost import count_parameters, layer_count
from moenas.nas.objectives import OBJECTIVES, Objective
from moenas.nas.space import SearchSpace
from moenas.nas.study import StudyDriver, open_study
from moenas.runs import RunFolder
from moenas.training.outcome import JobResult

BASE = "mobilevitv2_050"

OBJECTIVES.add(
    "worst_group",
    Objective("worst_group", lambda s: s.worst_group_accuracy, "maximize", "Worst group"),
)


def pretend_to_train(number: int, architecture: Architecture) -> JobResult:
    """Make up what a trained model would say: late experts help the dark tones most."""
    rng = np.random.default_rng(number)
    n = 1200
    label = np.tile([0, 1], n // 2)
    tone = 1 + np.arange(n) // 2 % 4
    late, early = sum(architecture.experts[6:]) / 24, sum(architecture.experts[:6]) / 48
    accuracy = 0.80 + 0.08 * early + np.where(tone == 4, 0.14 * late - 0.12, 0.0)
    right = rng.random(n) < np.where(label == 1, accuracy, 0.9)
    frame = pd.DataFrame({"image_id": [str(i) for i in range(n)], "split": "search"})
    frame["label"], frame["prediction"] = label, np.where(right, label, 1 - label)
    frame["group"] = pd.array(np.where(label == 1, tone, 0), dtype="Int16")
    frame.loc[label == 0, "group"] = pd.NA
    size = count_parameters(architecture.base, architecture.experts)
    scores = score(Predictions(frame), split="search", parameters=size, macs=0, draws=50)
    return JobResult({"search": scores}, seconds=0.0, stopped_because=None)


class Here:
    """An executor that works in this process, one job at a time."""

    workers = 1

    def submit(self, _run_job: Callable[..., Any], job: Any) -> Future[JobResult]:
        """Do the work at once."""
        future: Future[JobResult] = Future()
        future.set_result(pretend_to_train(*job))
        return future

    def shutdown(self, *, now: bool = False) -> None:
        """Nothing to end."""


with tempfile.TemporaryDirectory() as name:
    run = RunFolder.create(Path(name) / "run", "search", {})
    space = SearchSpace(BASE, layer_count(BASE), max_parameters=2_000_000)
    objectives = ("balanced_accuracy", "worst_group")
    sampler = MoENASSampler(
        constraint=space.constraint, search_space=space.distributions(), initial=8
    )
    study = open_study(run, objectives, sampler)
    driver = StudyDriver(
        study,
        space,
        objectives,
        executor=Here(),
        make_job=lambda number, architecture, _rung: (number, architecture),
        floor=0.75,  # a trial below this balanced accuracy is not feasible
    )
    driver.run(trials=16)
    print(f"{len(study.trials)} trials within {space.max_parameters:,} parameters; the front:")
    for trial in study.best_trials:
        accuracy, worst = trial.values
        name = trial.user_attrs["architecture"]
        print(f"  {name}: balanced accuracy {accuracy:.3f}, worst group {worst:.3f}")
