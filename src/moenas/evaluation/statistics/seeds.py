"""Means over training seeds, and differences of such means: two sources of chance.

A model trained k times and tested on some images would score otherwise with other seeds and with
other images. With s² the variance over seeds and covariances taken over resampled images,

    variance of the mean = s² / k + (mean covariance of two seeds' scores over images).

The covariance, not the variance of the mean: what an image does to one seed only is in s² already.
s² comes from two or three seeds: it can be nearly 0 by luck, and so can the covariance. So each
part has its own t quantile (`half_width`), and no interval is narrower than what other images alone
would do to these trained models. Differences are the same, seed by seed, when both models have the
same seeds, because seeds that start alike end alike.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from moenas.evaluation.statistics.intervals import Parts, half_width, p_value
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


@dataclasses.dataclass(frozen=True)
class Chance:
    """What chance does to a number: variances, each with its degrees of freedom.

    Attributes:
        both: Of other seeds and other images, in independent parts.
        images: Of other images alone, of the same trained models.
    """

    both: Parts
    images: tuple[float, float]

    def interval(self, value: float) -> tuple[float, float] | None:
        """At 95 %; None where nothing varies, so that nothing is known."""
        half = max(half_width(self.both), half_width([self.images]))
        return (value - half, value + half) if half > 0 else None

    def p_value(self, value: float) -> float:
        """Of "the true value is 0"; never 0, and 1 where nothing varies."""
        own = p_value(value, self.both)
        return max(own, p_value(value, [self.images])) if self.images[0] > 0 else own


def mean_chance(seeds: Seeds) -> Chance:
    """What chance does to the mean over seeds; to one seed: images only."""
    images = float(seeds.draws.mean(0).var()), seeds.degrees
    k = len(seeds.values)
    if k == 1:
        return Chance([images], images)
    shared, _ = seeds.images
    return Chance([(float(seeds.values.var(ddof=1)) / k, k - 1), (shared, seeds.degrees)], images)


def difference_chance(first: Seeds, second: Seeds) -> Chance | None:
    """What chance does to the difference of means.

    Seeds are paired in order where both have as many; else their variance is pooled over the models
    that have several. None where neither has: one training says nothing about others.
    """
    many = [seeds for seeds in (first, second) if len(seeds.values) > 1]
    degrees = min(first.degrees, second.degrees)
    if not many:
        return None
    if len(first.values) == len(second.values):
        paired = Seeds(first.values - second.values, first.draws - second.draws, degrees)
        return mean_chance(paired)
    freedom = np.array([len(seeds.values) - 1 for seeds in many])
    spread = float(freedom @ [seeds.values.var(ddof=1) for seeds in many] / freedom.sum())
    own = float(freedom @ [seeds.images[1] for seeds in many] / freedom.sum())
    share = 1 / len(first.values) + 1 / len(second.values)
    between = float((first.draws.mean(0) - second.draws.mean(0)).var())
    shared = max(0.0, between - own * share)
    parts = [(spread * share, float(freedom.sum())), (shared, degrees)]
    return Chance(parts, (between, degrees))
