"""The trials as the page's script reads them: columns of JSON, safe inside a script element."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
from markupsafe import Markup

from moenas.report.results import ComparedModel, Comparison, Pruning, Trial
from moenas.report.trial_axes import COSTS, OBJECTIVES, Axis

Column = dict[str, Any]


def ordered(trials: Sequence[Trial]) -> tuple[Trial, ...]:
    """Return the trials in the order of the page: the front first, then by number."""
    return tuple(sorted(trials, key=lambda trial: (not trial.on_front, trial.number)))


def status(trial: Trial) -> str:
    """Say in a word or two what became of a trial."""
    if trial.state.upper() != "COMPLETE":
        return trial.state.lower()
    if trial.rung is not None:
        return "stopped early"
    if trial.feasible is False:
        return "infeasible"
    return "front" if trial.on_front else "feasible"


def experts(trial: Trial, bases: bool) -> str:
    """Write a trial's experts by layer, e.g. ``1-8-3``, after its base model where asked."""
    counts = "-".join(map(str, trial.experts)) or "–"
    return f"{base(trial)} {counts}" if bases else counts


def base(trial: Trial) -> str:
    """Name of the base model of a trial's architecture."""
    return (trial.architecture or "").rpartition("-e")[0]


def columns(trials: Sequence[Trial], frame: pd.DataFrame) -> list[Column]:
    """Return the columns of the trials' table, each with its heading and its values.

    Numbers are in the page's unit with three decimals more than the page writes; ``digits`` says
    how many it writes.

    Args:
        trials: In the order of the page.
        frame: `tables.trials` of the same trials.
    """
    bases = len({base(trial) for trial in trials if trial.architecture}) > 1
    result: list[Column] = [
        {"label": "Trial", "digits": 0, "values": [trial.number for trial in trials]},
        {"label": "Experts by layer", "values": [experts(trial, bases) for trial in trials]},
        {"label": "Status", "values": [status(trial) for trial in trials]},
    ]
    shown = [axis for axis in (*COSTS, *OBJECTIVES) if axis.key in frame]
    result += [
        {
            "key": axis.key,
            "label": axis.title,
            "digits": axis.digits,
            "values": [
                None if math.isnan(value) else round(value, axis.digits + 3)
                for value in axis.values(frame)
            ],
        }
        for axis in (*shown, Axis("seconds", "Time", "s", 1.0, digits=0))
    ]
    return result


def descent(
    trials: Sequence[Trial], comparison: Comparison | None, pruning: Pruning | None
) -> dict[str, int]:
    """Return the place among the trials of the one that each compared model descends from.

    A finalist descends from the first complete trial of its architecture, a pruned model from the
    trial of the finalist that was pruned; models without such a trial are left out.
    """
    places: dict[str | None, int] = {}
    for place, trial in enumerate(trials):
        if trial.state.upper() == "COMPLETE" and trial.architecture:
            places.setdefault(trial.architecture, place)
    models: Sequence[ComparedModel] = comparison.models if comparison else ()
    found = {
        model.name: places[model.architecture]
        for model in models
        if model.role == "finalist" and model.architecture in places
    }
    for model in models:
        if model.role == "pruned" and pruning and pruning.model in found:
            found[model.name] = found[pruning.model]
    return found


def script_json(
    table: Sequence[Column],
    axes: Sequence[Axis],
    frame: pd.DataFrame,
    drawn: pd.Series,
    models: Mapping[str, int],
) -> Markup:
    """Return what ``trials.js`` needs: table, axes, how each trial is drawn, models' trials.

    Args:
        table: `columns`.
        axes: Axes of the drawings.
        frame: The trials that are drawn.
        drawn: ``front``, ``plain`` or ``infeasible`` for each of those trials.
        models: `descent`.

    Returns:
        JSON without ``<``, ``>`` and ``&``: no text in it can end the script element or open a
        comment.
    """
    keys = [column.get("key") for column in table]
    content = {
        "columns": table,
        "axes": [
            {
                "column": keys.index(axis.key),
                "label": axis.title,
                "low": axis.ticks(frame)[0],
                "high": axis.ticks(frame)[-1],
            }
            for axis in axes
        ],
        "kinds": [drawn.get(place, "") for place in range(len(table[0]["values"]))],
        "models": models,
    }
    text = json.dumps(content, ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    for sign in "<>&":
        text = text.replace(sign, f"\\u{ord(sign):04x}")
    return Markup(text)  # noqa: S704 - escaped above for where it stands
