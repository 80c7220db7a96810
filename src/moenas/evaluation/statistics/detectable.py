"""The minimum detectable gap: which unfairness would this test set have shown?

A p-value above 0.05 may mean that the model is fair or that there are too few images. This tells
which: the smallest gaps between groups at which the permutation test of fairness (`noise_floor`)
says "unfair" with 80 % power, on these images, given how sure their accuracies are.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from moenas.evaluation.statistics.gaps import contrasts, gaps
from moenas.evaluation.statistics.noise_floor import NoiseFloor, noise_floor
from moenas.evaluation.statistics.resampling import Clusters
from moenas.metrics.tally import F64
from moenas.runtime import generator

_STEPS = 20
"""Of bisection: to a millionth."""


@dataclasses.dataclass(frozen=True)
class DetectableGap:
    """Gaps in accuracy (0–1) that the fairness test finds with the stated power.

    ``trend``: between lightest and darkest, where accuracy falls evenly over the groups in between.
    ``alone``: of a group that alone is served worse than all others, by group. 1 where not even
    that would be found.
    """

    trend: float
    alone: dict[int, float]
    power: float
    level: float


def detectable_gap(
    clusters: Clusters,
    floor: NoiseFloor | None = None,
    *,
    power: float = 0.8,
    level: float = 0.05,
    draws: int = 2000,
    seed: int = 0,
) -> DetectableGap:
    """The smallest gaps that the fairness test would probably have found on these images.

    Args:
        clusters: Of one split; the first model's answers count.
        floor: Its noise floor, where it is known already.
        power: How probably, 0–1.
        level: Of the test.
        draws: Of the noise.
        seed: Of the draws.

    Raises:
        DataError: Fewer than two groups have images.
    """
    floor = floor or noise_floor(clusters.tables[0], draws, seed)
    covariance, contrast = gaps(clusters).covariance, contrasts(clusters)
    groups = clusters.cells.groups
    noise = generator(seed, "detectable").multivariate_normal(
        np.zeros(len(groups) - 1), covariance, size=draws, method="eigh"
    )

    # Where nearly all answers are right, permutations have hardly anything to swap: what is found
    # must exceed the noise that is added below, too.
    alone = np.abs(noise).sum(1) / len(groups)
    critical = max(np.quantile(floor.spd, 1 - level), np.quantile(alone, 1 - level))

    def smallest(shape: F64) -> float:
        low, high = 0.0, 1.0
        for _ in range(_STEPS):
            middle = (low + high) / 2
            spd = np.abs(middle * (contrast @ shape) + noise).sum(1) / len(groups)
            low, high = (low, middle) if (spd > critical).mean() >= power else (middle, high)
        return high

    return DetectableGap(
        trend=smallest(-np.linspace(0, 1, len(groups))),
        alone={g: smallest(-np.eye(len(groups))[i]) for i, g in enumerate(groups)},
        power=power,
        level=level,
    )
