"""What of a training, a search and an audit is recorded in trackers, and under which names."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from optuna.trial import FrozenTrial, TrialState

from moenas.evaluation.scores import SHOWN, Scores
from moenas.nas.progress import SearchProgress
from moenas.nas.rungs import FULL_LENGTH
from moenas.nas.study import is_feasible
from moenas.tracking.recording import Recording
from moenas.training.history import EpochRecord
from moenas.training.job import TrainingJob
from moenas.training.outcome import JobResult

SCORES = (*SHOWN, "parameters")
"""Scores that models are compared by."""


def record_epoch(record: Recording, epoch: EpochRecord) -> None:
    """Record an epoch: ``epoch/loss``, ``epoch/accuracy_val`` and so on."""
    values = {name: value for name, value in dataclasses.asdict(epoch).items() if name != "epoch"}
    record.add("epoch", epoch.epoch, values)


def record_training(record: Recording, job: TrainingJob, result: JobResult) -> None:
    """Record a training's scores under its folder: ``parents/NAME-sS/fairness`` ..."""
    folder = Path(job.folder)
    values = score_numbers(result.scores["search"]) | {"seconds": result.seconds}
    record.add(f"{folder.parent.name}/{folder.name}", 0, values)


def record_trial(record: Recording, progress: SearchProgress, trial: FrozenTrial) -> None:
    """Record a finished trial and how far the search is: ``trial/fairness``, by trial number."""
    fields = trial_fields(trial, progress.objectives)
    values = {k: v for k, v in fields.items() if k != "trial" and not isinstance(v, str)}
    values |= {
        "failed": float(fields["state"] == "failed"),
        "stopped": float(fields["state"] == "stopped"),
        "hypervolume": progress.front.hypervolume,
        "front": progress.front.size,
    }
    moment = trial.datetime_complete
    record.add("trial", trial.number, values, None if moment is None else moment.timestamp())


def record_models(record: Recording, models: Sequence[Mapping[str, Any]]) -> None:
    """Record the means over seeds on the report half: ``report/NAME/fairness`` ...

    Args:
        record: Where.
        models: Entries of ``comparison.json`` or of an audit's summary.
    """
    for model in models:
        means = {name: (model["report"].get(name) or {}).get("mean") for name in SCORES}
        size = model.get("parameters") or (model.get("scores") or {}).get("parameters")
        name = model.get("name") or model["model"]
        record.add(f"report/{name}", 0, means | {"parameters": size})


def score_numbers(scores: Scores) -> dict[str, float | None]:
    """The scores that models are compared by."""
    return {name: getattr(scores, name) for name in SCORES}


def trial_fields(trial: FrozenTrial, objectives: tuple[str, ...]) -> dict[str, Any]:
    """What a finished trial is, for the log of the run: number, state, costs and objectives."""
    attributes = {k: v for k, v in trial.user_attrs.items() if isinstance(v, int | float)}
    named = {"trial": trial.number, "architecture": str(trial.user_attrs.get("architecture", ""))}
    if trial.state != TrialState.COMPLETE:
        return {**named, **attributes, "state": "failed"}
    if FULL_LENGTH in trial.constraints:  # its values are guesses, for the sampler alone
        return {**named, **attributes, "state": "stopped"}
    values = dict(zip(objectives, trial.values, strict=True))
    return {**named, **attributes, **values, "state": "complete", "feasible": is_feasible(trial)}
