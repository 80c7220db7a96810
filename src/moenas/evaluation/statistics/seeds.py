"""Means over training seeds, and differences of such means: two sources of chance.

A model trained k times and tested on some images would score otherwise with other seeds and with
other images. With s² the variance over seeds and covariances taken over resampled images,

    variance of the mean = s² / k + (mean covariance of two seeds' scores over images).

The covariance, not the variance of the mean: what an image does to one seed only is in s² already.
Degrees of freedom are Welch–Satterthwaite's. Differences are the same, seed by seed, when both
models have the same seeds, because seeds that start alike end alike.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from moenas.evaluation.statistics.intervals import satterthwaite
from moenas.metrics.tally import F64


@dataclasses.dataclass(frozen=True)
class Seeds:
    """Scores of a model's k seeds: observed [k], on the same resampled images [k, B].

    ``degrees``: degrees of freedom of the variance over images, from the number of clusters.
    """

    values: F64
    draws: F64
    degrees: float

    @property
    def mean(self) -> float:
        """Over seeds."""
        return float(self.values.mean())

    @property
    def images(self) -> tuple[float, float]:
        """Variance over images: (shared by the seeds, a seed's own); one seed's is all shared."""
        k = len(self.values)
        single, mean = float(self.draws.var(1).mean()), float(self.draws.mean(0).var())
        if k == 1:
            return single, 0.0
        shared = max(0.0, (k * mean - single) / (k - 1))
        return shared, max(0.0, single - shared)


def mean_variance(seeds: Seeds) -> tuple[float, float]:
    """Variance of the mean over seeds and its degrees of freedom; of one seed: over images only."""
    k = len(seeds.values)
    shared, _ = seeds.images
    if k == 1:
        return shared, seeds.degrees
    parts = [float(seeds.values.var(ddof=1)) / k, shared]
    return sum(parts), satterthwaite(parts, [k - 1, seeds.degrees])


def difference_variance(first: Seeds, second: Seeds) -> tuple[float, float] | None:
    """Variance of the difference of means and its degrees of freedom.

    Seeds are paired in order where both have as many; else their variance is pooled over the models
    that have several. None where neither has: one training says nothing about others.
    """
    many = [seeds for seeds in (first, second) if len(seeds.values) > 1]
    degrees = min(first.degrees, second.degrees)
    if not many:
        return None
    if len(first.values) == len(second.values):
        paired = Seeds(first.values - second.values, first.draws - second.draws, degrees)
        return mean_variance(paired)
    freedom = np.array([len(seeds.values) - 1 for seeds in many])
    spread = float(freedom @ [seeds.values.var(ddof=1) for seeds in many] / freedom.sum())
    own = float(freedom @ [seeds.images[1] for seeds in many] / freedom.sum())
    share = 1 / len(first.values) + 1 / len(second.values)
    between = float((first.draws.mean(0) - second.draws.mean(0)).var())
    parts = [spread * share, max(0.0, between - own * share)]
    return sum(parts), satterthwaite(parts, [float(freedom.sum()), degrees])
