"""One function = one table: what the run holds in, a data frame out. All fractions are 0-1.

The web page, its CSV downloads and the figures for print all start from these frames.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Iterable
from pathlib import Path

import pandas as pd

from moenas import parsing
from moenas.report.measures import MEASURES
from moenas.report.results import Comparison, Pruning, SearchSummary, Summary, Trial

OUTCOME = {True: "better", False: "worse", None: "undecided"}
"""How ``better`` of a difference is written."""

_ROLES = ("base", "wider", "finalist", "pruned")


def leaderboard(comparison: Comparison) -> pd.DataFrame:
    """Return one row a model: identity, size, each measure with interval and outcomes.

    Columns ``M``, ``M_low``, ``M_high``, ``M_vs_base``, ``M_vs_wider`` for each measure M.
    """
    rows = []
    for model in sorted(comparison.models, key=lambda model: _ROLES.index(model.role)):
        row: dict[str, object] = {
            "model": model.name,
            "role": model.role,
            "size_class": model.size_class,
            "architecture": model.architecture,
            "parameters": model.parameters,
            "macs": model.macs,
            "seeds": len(model.seeds),
        }
        for key in MEASURES:
            estimate = model.report.get(key)
            row[key] = estimate.mean if estimate else None
            row[f"{key}_low"] = estimate.low if estimate else None
            row[f"{key}_high"] = estimate.high if estimate else None
            for reference in ("base", "wider"):
                difference = model.versus.get(reference, {}).get(key)
                row[f"{key}_vs_{reference}"] = OUTCOME[difference.better] if difference else None
        rows.append(row)
    return pd.DataFrame(rows)


def tones(comparison: Comparison) -> pd.DataFrame:
    """Return one row a model and tone: ``model, category (1-10), n, mean, low, high``."""
    rows = [
        (model.name, group.group, group.n, group.mean, group.low, group.high)
        for model in comparison.models
        for group in sorted(model.groups, key=lambda group: group.group)
    ]
    return _numeric(pd.DataFrame(rows, columns=["model", "category", "n", "mean", "low", "high"]))


def lights(comparison: Comparison) -> pd.DataFrame:
    """Return one row a model and light: ``model, category (name), n, mean, low, high``."""
    rows = [
        (model.name, light.lighting, light.n, light.mean, light.low, light.high)
        for model in comparison.models
        for light in model.lights
    ]
    return _numeric(pd.DataFrame(rows, columns=["model", "category", "n", "mean", "low", "high"]))


def differences(comparison: Comparison) -> pd.DataFrame:
    """Return one row a model, reference and measure: the difference, interval, p, outcome."""
    rows = [
        {
            "model": model.name,
            "against": reference,
            "measure": measure,
            "difference": difference.difference,
            "low": difference.low,
            "high": difference.high,
            "p": difference.p,
            "p_holm": difference.p_holm,
            "outcome": OUTCOME[difference.better],
        }
        for model in comparison.models
        for reference, measures in model.versus.items()
        for measure, difference in measures.items()
    ]
    columns = [
        *("model", "against", "measure", "difference", "low", "high", "p", "p_holm", "outcome")
    ]
    return _numeric(
        pd.DataFrame(rows, columns=columns), skip=("model", "against", "measure", "outcome")
    )


def noise(comparison: Comparison) -> pd.DataFrame:
    """Return one row a model that has a noise floor: its fairness beside a fair model's."""
    rows = []
    for model in comparison.models:
        fairness = model.report.get("fairness")
        debiased = model.report.get("fairness_debiased")
        floor = model.noise_floor
        if floor is None or fairness is None:
            continue
        rows.append(
            {
                "model": model.name,
                "fairness": fairness.mean,
                "fairness_low": fairness.low,
                "fairness_high": fairness.high,
                "fairness_debiased": debiased.mean if debiased else None,
                "floor_mean": floor.mean,
                "floor_sd": floor.sd,
                "floor_low": floor.low,
                "p_value": floor.p_value,
                "p_holm": floor.p_holm,
            }
        )
    columns = ["model", "fairness", "fairness_low", "fairness_high", "fairness_debiased"]
    columns += ["floor_mean", "floor_sd", "floor_low", "p_value", "p_holm"]
    return _numeric(pd.DataFrame(rows, columns=columns))


def trials(trials: tuple[Trial, ...]) -> pd.DataFrame:
    """Return one row a trial: state, experts ``e1..eN``, size, the four objectives, front.

    ``feasible`` and ``on_front`` are booleans; the objectives are of the search half. There is a
    column ``latency_ms`` where latencies were looked up.
    """
    layers = max((len(trial.experts) for trial in trials), default=0)
    timed = any(trial.latency_ms is not None for trial in trials)
    rows = []
    for trial in trials:
        row: dict[str, object] = {
            "number": trial.number,
            "state": trial.state,
            "architecture": trial.architecture,
            "parameters": trial.parameters,
            "macs": trial.macs,
            **({"latency_ms": trial.latency_ms} if timed else {}),
            "balanced_accuracy": trial.balanced_accuracy,
            "fairness": trial.fairness,
            "robustness": trial.robustness,
            "generalisation": trial.generalisation,
            "feasible": trial.feasible is not False,
            "on_front": bool(trial.on_front),
            "seconds": trial.seconds,
        }
        for layer in range(layers):
            row[f"e{layer + 1}"] = trial.experts[layer] if layer < len(trial.experts) else None
        rows.append(row)
    frame = pd.DataFrame(rows)
    return _numeric(frame, skip=("state", "architecture", "feasible", "on_front"))


def hypervolume(search: SearchSummary) -> pd.DataFrame:
    """Return ``finished`` (1, 2, ...) and ``hypervolume`` after that many finished trials."""
    frame = pd.DataFrame({"hypervolume": list(search.hypervolume)}, dtype="float64")
    frame.insert(0, "finished", range(1, len(frame) + 1))
    return frame


PRUNED = ("balanced_accuracy", "fairness", "robustness", "overfitting")
"""Qualities of a pruned model that have intervals."""


def pruning(pruning: Pruning) -> pd.DataFrame:
    """Return one row a step, the start as step 0; qualities are of the search half.

    ``QUALITY_low`` and ``QUALITY_high`` are the ends of its interval, NaN where it has none.
    """
    rows = []
    for step, point in enumerate((pruning.start, *pruning.steps)):
        removed = point.removed
        rows.append(
            {
                "step": step,
                "kept": step <= pruning.kept,
                "removed_layer": removed.layer if removed else None,
                "removed_expert": removed.expert if removed else None,
                "usage": removed.usage if removed else None,
                "parameters": point.parameters,
                "file_bytes": point.file_bytes,
                "balanced_accuracy": point.balanced_accuracy,
                "fairness": point.fairness,
                "robustness": point.robustness,
                "overfitting": point.overfitting,
                "worst_group_accuracy": point.worst_group_accuracy,
                **{
                    f"{name}_{end}": ends.get(name)
                    for name in PRUNED
                    for end, ends in (("low", point.low), ("high", point.high))
                },
            }
        )
    return _numeric(pd.DataFrame(rows), skip=("removed_layer", "kept"))


def counts(summary: Summary) -> pd.DataFrame:
    """Return one row a split: ``split, n, positives``, then a column a tone and a light."""
    splits = summary.data.counts if summary.data else {}
    groups = sorted(
        {group for split in splits.values() for group in split.groups},
        key=lambda group: (not group.isdigit(), int(group) if group.isdigit() else 0, group),
    )
    found = list(dict.fromkeys(light for split in splits.values() for light in split.lights))
    rows = [
        {
            "split": name,
            "n": split.n,
            "positives": split.positives,
            **{f"tone {group}": split.groups.get(group, 0) for group in groups},
            **{light: split.lights.get(light, 0) for light in found},
        }
        for name, split in splits.items()
    ]
    return pd.DataFrame(rows)


def stages(summary: Summary) -> pd.DataFrame:
    """Return ``stage, seconds, share`` (0-1 of the total) in the order of the run."""
    frame = pd.DataFrame(
        [
            (stage, seconds)
            for stage, seconds in summary.seconds.items()
            if seconds is not None and stage != "total"
        ],
        columns=["stage", "seconds"],
    ).astype({"seconds": "float64"})
    total = frame["seconds"].sum()
    return frame.assign(share=frame["seconds"] / total if total > 0 else 0.0)


def csv_text(frame: pd.DataFrame) -> str:
    """Write a frame as CSV in which no text can start a formula in a spreadsheet.

    Text that starts with ``= + - @``, a tab or a line end, after any spaces, gets an apostrophe
    before it, and so does text that looks as if it had got one; numbers stay numbers. `read_csv`
    reads it back.
    """
    safe = frame.copy()
    for column in safe.columns:
        safe[column] = [_neutral(value) for value in safe[column]]
    safe.columns = pd.Index([_neutral(column) for column in safe.columns])
    return str(safe.to_csv(index=False, lineterminator="\r\n"))


def read_csv(path: Path, names: Iterable[str]) -> pd.DataFrame:
    """Read what `csv_text` wrote.

    Args:
        path: The file.
        names: Columns of text that is given back letter by letter, where they are there: a model
            may be called ``NA`` or ``null``, which pandas takes for nothing. Other columns are as
            pandas reads them.

    Raises:
        OSError, ValueError: It cannot be read.
    """
    wanted = set(names)
    frame = parsing.read_csv(path)
    if wanted & set(frame):
        text = parsing.read_csv(
            path, dtype="str", keep_default_na=False, usecols=wanted.__contains__
        )
        for name in text:
            frame[name] = [_NEUTRAL.sub("", value) for value in text[name]]
    return frame


def csv_uri(frame: pd.DataFrame) -> str:
    """Return a ``data:`` URI that downloads `csv_text`; it needs no network and no other file."""
    text = base64.b64encode(csv_text(frame).encode()).decode()
    return f"data:text/csv;charset=utf-8;base64,{text}"


def _neutral(value: object) -> object:
    return f"'{value}" if isinstance(value, str) and _FORMULA.match(value) else value


_FORMULA = re.compile(r"'* *[=+\-@\t\r\n]")
"""What a spreadsheet may take for a formula, or `read_csv` for one that was neutralised."""

_NEUTRAL = re.compile(r"^'(?='* *[=+\-@\t\r\n])")
"""The apostrophe that neutralises it."""


def _numeric(frame: pd.DataFrame, skip: tuple[str, ...] = ("model", "category")) -> pd.DataFrame:
    """Turn columns of optional numbers into float (missing = NaN), whole ones into Int64."""
    for column in frame.columns.difference(skip):
        values = pd.to_numeric(frame[column])
        whole = values.dropna().map(lambda value: float(value).is_integer()).all()
        name = str(column)
        counted = name in ("n", "number", "parameters", "macs", "file_bytes", "step") or (
            name.startswith("e") and name[1:].isdigit()
        )
        frame[column] = values.astype("Int64" if whole and counted else "float64")
    return frame
