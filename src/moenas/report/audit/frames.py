"""The data behind the audit's drawings: one function, one frame. All fractions are 0–1."""

from __future__ import annotations

import re

import moocore
import numpy as np
import pandas as pd

from moenas.models.zoo import module_of
from moenas.report.audit.results import AuditResults
from moenas.report.results import ComparedModel

BETTER = {
    "balanced_accuracy": "max",
    "fairness": "max",
    "robustness": "max",
    "overfitting": "zero",
    "parameters": "min",
}
"""What the points are drawn by, and which way is better."""


def points(models: tuple[ComparedModel, ...]) -> pd.DataFrame:
    """Return one row a model: ``model, family, able``, and the columns of `BETTER`.

    Intervals are ``NAME_low`` and ``NAME_high``; NaN where a value is undefined. ``able``: whether
    it is shown to be better than guessing.
    """
    rows = []
    for model in models:
        row: dict[str, object] = {
            "model": model.name,
            "family": family(model.name),
            "able": model.able,
        }
        for name in BETTER:
            if name == "parameters":
                row[name] = model.parameters
            elif value := model.report.get(name):
                row |= {name: value.mean, f"{name}_low": value.low, f"{name}_high": value.high}
        rows.append(row)
    bounds = [f"{name}{end}" for name in BETTER for end in ("", "_low", "_high")]
    frame = pd.DataFrame(rows).reindex(columns=["model", "family", "able", *bounds])
    return frame.astype(dict.fromkeys(bounds, "float64"))


def family(name: str) -> str:
    """Return what models that differ in size alone have in common; another name is its own family.

    Models of timm: its module, where the architecture is written, and what their names begin with
    (``mobilevit_xxs`` → ``mobilevit mobilevit``). A version stays (``mobilevitv2``), a depth goes
    (``resnet18`` → ``resnet``). Two devices named ``phone_a`` and ``phone_b`` have nothing in
    common that is known.
    """
    first = re.sub(r"(?<!v)\d+$", "", re.split(r"[_.]", name, maxsplit=1)[0])
    module = module_of(name.partition(".")[0])
    return name if module is None else f"{module} {first}"


def on_front(frame: pd.DataFrame, *axes: str) -> np.ndarray:
    """Return [n] which models no other beats in one of the axes without losing in another.

    Args:
        frame: `points`; models without a value are never on the front, nor are those that are not
            shown to be better than guessing: they are fair and robust by knowing nothing.
        axes: Columns of `BETTER`.
    """
    known = (frame[list(axes)].notna().all(axis=1) & frame["able"]).to_numpy()
    cost = np.stack([_cost(frame[axis], BETTER[axis]) for axis in axes], axis=1)
    front = np.zeros(len(frame), dtype=bool)
    if known.any():
        front[known] = moocore.is_nondominated(cost[known], keep_weakly=True)
    return front


def _cost(values: pd.Series, better: str) -> np.ndarray:
    numbers = values.to_numpy(dtype="float64")
    costs: dict[str, np.ndarray] = {"max": -numbers, "min": numbers, "zero": np.abs(numbers)}
    return costs[better]


def lights(models: tuple[ComparedModel, ...]) -> pd.DataFrame:
    """Return ``model, validation, report, low, high, poor``: the paper's Fig. 1a.

    Balanced accuracies on validation images, on the report half with its interval, and there in
    poor light; NaN where undefined.
    """
    rows = []
    for model in models:
        accuracy, over = model.report["balanced_accuracy"], model.report.get("overfitting")
        poor = model.report.get("robustness")
        known = over is not None and over.mean is not None and accuracy.mean is not None
        rows.append(
            {
                "model": model.name,
                "validation": accuracy.mean + over.mean if known else None,  # type: ignore[operator, union-attr]
                "report": accuracy.mean,
                "low": accuracy.low,
                "high": accuracy.high,
                "poor": poor.mean if poor else None,
            }
        )
    frame = pd.DataFrame(rows)
    return frame.astype(dict.fromkeys(frame.columns.drop("model"), "float64"))


def curves(audit: AuditResults, corruption: str) -> pd.DataFrame:
    """Return ``model, severity, value, low, high, drop``: balanced accuracy as images get worse."""
    frame = audit.degradation
    chosen = frame[(frame["corruption"] == corruption) & (frame["score"] == "balanced_accuracy")]
    return chosen[["model", "severity", "value", "low", "high", "drop"]].reset_index(drop=True)


def tone_drops(audit: AuditResults, corruption: str, severity: int) -> pd.DataFrame:
    """Return ``model, category, n, mean, low, high``: points lost on each tone at a severity."""
    frame = audit.degradation
    chosen = frame[
        (frame["corruption"] == corruption)
        & (frame["score"] == "accuracy")
        & (frame["severity"] == severity)
    ]
    named = {"group": "category", "drop": "mean", "drop_low": "low", "drop_high": "high"}
    found = chosen[["model", "n", *named]].rename(columns=named)
    return found.astype({"category": "int64"})[["model", "category", "n", "mean", "low", "high"]]


def spreads(audit: AuditResults) -> pd.DataFrame:
    """Return ``model`` and a column a rule: best minus worst tone's accuracy by how votes count."""
    frame = audit.sensitivity
    if frame.empty:
        return frame
    spread = frame.pivot_table(
        "accuracy", "model", "rule", aggfunc=lambda values: values.max() - values.min(), sort=False
    )
    return spread.rename_axis(columns=None).reset_index()
