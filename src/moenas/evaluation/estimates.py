"""A mean over seeds and a difference of two, each with what is known of its chance."""

from __future__ import annotations

import dataclasses
import math

ANY = (-math.inf, math.inf)
LIMITS = {
    **dict.fromkeys(("accuracy", "balanced_accuracy", "tpr", "tnr", "robustness"), (0.0, 1.0)),
    **dict.fromkeys(("worst_group_accuracy", "equal_opportunity"), (0.0, 1.0)),
    **dict.fromkeys(("fairness", "fairness_sum", "fairness_debiased"), (-math.inf, 1.0)),
    **dict.fromkeys(("spd_mean", "spd_sum"), (0.0, math.inf)),
    **dict.fromkeys(("gap_lightest_darkest", "overfitting"), (-1.0, 1.0)),
    "generalisation": (-1.0, 0.0),
}
"""Between what intervals of metrics lie."""


@dataclasses.dataclass(frozen=True)
class Estimate:
    """A mean over seeds, its interval (95 %) and the seeds' values."""

    mean: float
    low: float
    high: float
    values: tuple[float, ...]

    def within(self, least: float, most: float) -> Estimate:
        """Cut at the limits of what is possible."""
        mean, low, high, *values = (
            min(max(number, least), most)
            for number in (self.mean, self.low, self.high, *self.values)
        )
        return Estimate(mean, low, high, tuple(values))


@dataclasses.dataclass(frozen=True)
class Difference:
    """First minus second model, its interval (95 %) and p-value.

    The last three are None where each model was trained once: then nothing is known of what another
    seed would do. Where neither seeds nor images change it, there is no interval and p is 1.
    """

    difference: float
    low: float | None
    high: float | None
    p: float | None
