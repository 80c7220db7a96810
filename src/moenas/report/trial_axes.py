"""The axes of the trials' drawings: the four objectives, then what a model costs."""

from __future__ import annotations

import dataclasses

import numpy as np
import pandas as pd

from moenas.report.svg import nice_ticks


@dataclasses.dataclass(frozen=True)
class Axis:
    """One axis.

    Args:
        key: Column of `tables.trials`.
        label: Its name on the page.
        unit: Unit on the page.
        scale: From the column's numbers to the page's.
        digits: Decimals that the page writes.
        smaller_is_better: The good direction.
    """

    key: str
    label: str
    unit: str
    scale: float
    digits: int = 1
    smaller_is_better: bool = False

    @property
    def title(self) -> str:
        """Name and unit, e.g. ``Fairness, %``."""
        return f"{self.label}, {self.unit}"

    def values(self, frame: pd.DataFrame) -> pd.Series:
        """Return the column in the page's unit, NaN where a trial has none."""
        return frame[self.key].astype("float64") * self.scale

    def ticks(self, frame: pd.DataFrame) -> list[float]:
        """Return round numbers around all values; the first and the last end the axis."""
        values = self.values(frame)
        return nice_ticks(float(values.min()), float(values.max()), 4)


OBJECTIVES = (
    Axis("balanced_accuracy", "Balanced accuracy", "%", 100.0),
    Axis("fairness", "Fairness", "%", 100.0),
    Axis("robustness", "Robustness", "%", 100.0),
    Axis("generalisation", "Generalisation", "points", 100.0),
)
COSTS = (
    Axis("parameters", "Size", "M", 1e-6, digits=2, smaller_is_better=True),
    Axis("latency_ms", "Latency", "ms", 1.0, digits=2, smaller_is_better=True),
)


def drawable(frame: pd.DataFrame) -> tuple[list[Axis], pd.DataFrame]:
    """Return the axes that have values and the trials that can be drawn on them.

    A trial is drawn when it has an objective and one more value. With fewer than two such trials
    there is nothing to compare, and no axes are returned.

    Args:
        frame: `tables.trials`.
    """
    axes = [
        axis
        for axis in (*OBJECTIVES, *COSTS)
        if axis.key in frame and frame[axis.key].notna().any()
    ]
    keys = [axis.key for axis in axes]
    measured = frame[[axis.key for axis in OBJECTIVES]].notna().any(axis=1)
    trials = frame[measured & (frame[keys].notna().sum(axis=1) >= 2)]
    if len(trials) < 2:
        return [], trials
    return [axis for axis in axes if trials[axis.key].notna().any()], trials


def kinds(frame: pd.DataFrame) -> pd.Series:
    """Return ``front``, ``plain`` or ``infeasible`` for each trial."""
    names = np.where(frame["on_front"], "front", "plain")
    return pd.Series(np.where(frame["feasible"], names, "infeasible"), index=frame.index)


def sample(frame: pd.DataFrame, most: int = 600) -> pd.DataFrame:
    """Return the front and an even share of the other trials, for drawings without a script.

    Args:
        frame: Trials, front and others.
        most: How many of the front and how many of the others at most.
    """
    parts = [frame[frame["on_front"]], frame[~frame["on_front"]]]
    return pd.concat(
        part.iloc[np.linspace(0, len(part) - 1, min(most, len(part))).round().astype(int)]
        for part in parts
    ).sort_index()
