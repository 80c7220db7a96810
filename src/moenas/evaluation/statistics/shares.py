"""Intervals of shares (recall, a group's accuracy) and their sums, from images in clusters.

A share gets Wilson's interval at its effective sample size: the number of independent images that
would vary as much as the clusters do. It stays within 0–1 and has a width at 0 and 1, where a
bootstrap has none. Sums and differences of shares combine these intervals (MOVER, Zou and Donner
2008), with the correlation that common clusters give them. In simulation both cover 94–98 %, with
as few as ten clusters and at accuracies up to 0.97, where bootstrap percentiles fall to 92 %.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from moenas.evaluation.statistics.intervals import wilson
from moenas.metrics.tally import F64, share

I64 = npt.NDArray[np.int64]


@dataclasses.dataclass(frozen=True)
class Shares:
    """S shares of the same clusters with their bounds, numbers of clusters [S] and covariance."""

    value: F64
    low: F64
    high: F64
    clusters: F64
    covariance: F64

    @property
    def correlation(self) -> F64:
        """[S, S]; 0 where a share shows no variance."""
        deviation = np.sqrt(np.diag(self.covariance))
        scale = np.outer(deviation, deviation)
        unit = np.eye(len(scale))
        result: F64 = np.divide(self.covariance, scale, out=unit, where=scale > 0).clip(-1, 1)
        return result


def cluster_shares(number: I64, total: F64, correct: F64, size: F64 | None = None) -> Shares:
    """Shares with intervals at 95 %; (0, 1) where nothing is known.

    Args:
        number: [P] clusters that have these counts.
        total: [P, S] weights of images.
        correct: [P, S] weights of successes.
        size: [S] number of independent images the weights are worth at most (`worth`); by default
            their sum, which is right where an image weighs 1.
    """
    sums = number @ total
    value = share(number @ correct, sums)
    clusters = np.asarray(number @ (total > 0), dtype=np.float64)
    # Linearised: how far a cluster pulls the share, with the small-sample factor k / (k − 1).
    pull = (correct - total * np.nan_to_num(value)) / np.where(sums > 0, sums, 1.0)
    pull *= np.sqrt(np.nan_to_num(share(clusters, clusters - 1)))
    covariance = (pull.T * number) @ pull
    variance = np.diag(covariance)
    # All right or all wrong: clusters that show no variance count as single images.
    effective = np.where(variance > 0, share(value * (1 - value), variance), clusters)
    effective = np.minimum(np.nan_to_num(effective), sums if size is None else size)
    effective = np.where(clusters < 2, clusters, effective)
    degrees = np.where(clusters > 1, clusters - 1, np.inf)
    low, high = wilson(np.nan_to_num(value) * effective, effective, degrees=degrees)
    return Shares(value, low, high, clusters, covariance)


def worth(image: I64, weight: F64, *parts: npt.NDArray[np.bool_]) -> F64:
    """[S] number of independent images that the weights of each part are worth, (Σw)² / Σw².

    It does not depend on the weights' unit: shares of a sample say as much as numbers of persons.

    Args:
        image: [n] number of each row's image; its rows (one a possible tone) count together.
        weight: [n].
        parts: [n] which rows belong to each share.
    """
    whole = np.stack([np.bincount(image, weight * part) for part in parts])
    return np.nan_to_num(share(whole.sum(1) ** 2, (whole**2).sum(1)))


def combination(
    coefficients: Sequence[Sequence[float]], parts: Sequence[Shares]
) -> tuple[float, float] | None:
    """Interval of Σ coefficient × share; None where a share is undefined.

    Args:
        coefficients: For each of ``parts``, one per share.
        parts: Shares of independent sets of clusters.
    """
    below = above = 0.0
    value = 0.0
    for factors, part in zip(coefficients, parts, strict=True):
        factor = np.asarray(factors, dtype=np.float64)
        used = factor != 0
        factor, estimate = factor[used], part.value[used]
        if np.isnan(estimate).any():
            return None
        value += float(factor @ estimate)
        to_low, to_high = estimate - part.low[used], part.high[used] - estimate
        down = np.abs(factor) * np.where(factor > 0, to_low, to_high)
        up = np.abs(factor) * np.where(factor > 0, to_high, to_low)
        together = part.correlation[np.ix_(used, used)] * np.outer(np.sign(factor), np.sign(factor))
        below += float(down @ together @ down)
        above += float(up @ together @ up)
    return value - float(np.sqrt(max(below, 0))), value + float(np.sqrt(max(above, 0)))
