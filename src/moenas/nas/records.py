"""What a search writes down for reports: its trials and the comparison of its finalists."""

from __future__ import annotations

from typing import Any

import numpy as np
import optuna
from optuna.trial import FrozenTrial, TrialState

from moenas.evaluation.comparison import Comparison
from moenas.evaluation.records import adjusted, records
from moenas.models.architecture import Architecture
from moenas.models.cost import macs_of, parameters_of
from moenas.nas.front import Values, hypervolume_progress, on_front
from moenas.nas.rungs import FULL_LENGTH, RUNGS
from moenas.nas.space import BASE
from moenas.nas.study import maximised
from moenas.nas.verdict import verdict
from moenas.predictions import Predictions
from moenas.runs import ModelFolder


def measured(study: optuna.Study) -> tuple[list[FrozenTrial], Values, np.ndarray]:
    """Return finished trials in the order of their end, [n, m] values to maximise, feasibility."""
    trials = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))  # a list of our own
    trials.sort(key=lambda t: (t.datetime_complete, t.number))
    values, feasible = maximised(study, trials)
    return trials, values, feasible


def trial_records(study: optuna.Study, objectives: tuple[str, ...]) -> list[dict[str, Any]]:
    """Return ``trials.json``: one entry a trial, by number."""
    trials, values, feasible = measured(study)
    front = on_front(values, feasible)
    places = {trial.number: place for place, trial in enumerate(trials)}
    rows = []
    for trial in study.get_trials(deepcopy=False):
        record: dict[str, Any] = {
            "number": trial.number,
            "state": trial.state.name,
            "experts": [n for name, n in trial.params.items() if name != BASE],
            **{
                key: trial.user_attrs.get(key)
                for key in ("architecture", "parameters", "macs", "seconds", "stopped_because")
            },
            "feasible": None,
            "on_front": False,
        }
        if "latency_ms" in trial.user_attrs:
            record["latency_ms"] = trial.user_attrs["latency_ms"]
        if trial.state == TrialState.COMPLETE:
            place = places[trial.number]
            told = dict(zip(objectives, trial.values, strict=True))
            if FULL_LENGTH in trial.constraints:  # a guess, and what it is guessed from
                by_rung = trial.user_attrs[RUNGS]["values"]
                measured_there = dict(zip(objectives, by_rung[-1], strict=True))
                record |= {"rung": len(by_rung) - 1, "guess": told, "measured": measured_there}
            else:
                record |= told | {"feasible": bool(feasible[place])}
            record["on_front"] = bool(front[place])
        rows.append(record)
    return rows


def search_record(study: optuna.Study) -> dict[str, Any]:
    """Return how the search went, for ``summary.json``."""
    trials, values, feasible = measured(study)
    states = [t.state for t in study.get_trials(deepcopy=False)]
    seconds = [t.user_attrs["seconds"] for t in trials]
    short = sum(FULL_LENGTH in t.constraints for t in trials)
    return {
        "completed": len(trials),
        "failed": states.count(TrialState.FAIL),
        "infeasible": int((~feasible).sum()) - short,
        "short": short,
        "seconds_a_trial": float(np.mean(seconds)) if seconds else None,
        "hypervolume": hypervolume_progress(values, feasible),
    }


def comparison_record(
    models: list[dict[str, Any]],
    folders: dict[str, list[ModelFolder]],
    image_size: int,
) -> dict[str, Any]:
    """Return ``comparison.json``: all reported models on the report half, with paired tests.

    Args:
        models: Entries with ``name``, ``role``, ``size_class``, ``architecture`` (id) and
            ``seeds``; roles ``base`` and ``wider`` are what the others are compared with.
        folders: The models' folders by name, one a seed, seeds in the same order for all.
        image_size: What multiply-adds are counted at.
    """
    key = {m["name"]: m["role"] if m["role"] in ("base", "wider") else m["name"] for m in models}
    tables = {
        key[name]: [Predictions.load(folder.predictions) for folder in own]
        for name, own in folders.items()
    }
    paired = records(Comparison({k: v for k, v in tables.items() if len(v) > 1}))
    single = {k: v for k, v in tables.items() if len(v) == 1}
    for name, own in single.items():  # one seed: intervals over images only, no comparison
        paired |= records(Comparison({name: own}), references=())
    adjusted(paired)
    entries = []
    for model in models:
        architecture = Architecture.parse(model["architecture"])
        cost = {
            "parameters": parameters_of(architecture),
            "macs": macs_of(architecture, image_size),
        }
        answers = [table.split("report").prediction.mean() for table in tables[key[model["name"]]]]
        share = {"person_share": float(np.mean(answers))}
        entries.append({**model, **cost, **share, **paired[key[model["name"]]]})
    known = bool(entries[0]["noise_floor"])
    return {"models": entries, "verdict": verdict(entries, known)}
