"""Two models on the same images, and many tests at once."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from scipy import signal, stats

from moenas.errors import DataError
from moenas.evaluation.statistics.resampling import aligned
from moenas.predictions import Predictions

F64 = npt.NDArray[np.float64]


def mcnemar(first_only: int, second_only: int, *, mid_p: bool = True) -> float:
    """Two-sided p-value of "both models are right equally often" on the same images.

    Args:
        first_only: Images that only the first model gets right.
        second_only: Images that only the second one does.
        mid_p: Count half of the observed case's probability (less conservative, still valid in
            practice: Fagerland et al. 2013); else the exact test.

    Raises:
        DataError: A count is negative.
    """
    if min(first_only, second_only) < 0:
        raise DataError("McNemar: the numbers of images cannot be negative.")
    n, least = first_only + second_only, min(first_only, second_only)
    p = min(1.0, 2 * float(stats.binom.cdf(least, n, 0.5)))
    if mid_p:
        p = 2 * float(stats.binom.cdf(least, n, 0.5)) - float(stats.binom.pmf(least, n, 0.5))
    return min(1.0, p)


def clustered_mcnemar(net: npt.ArrayLike, *, mid_p: bool = True) -> float:
    """`mcnemar` of images in clusters: under the hypothesis a cluster's answers may swap models.

    The sum of ``net`` is compared with the sums that all swaps give: exactly where these are whole
    numbers below `EXACT`, or so few that each can be looked at; else with the normal distribution
    of the same variance. Where each image is its own cluster this is McNemar's test.

    Args:
        net: [K] images that only the first model gets right minus those that only the second
            one does, of each cluster.
        mid_p: As in `mcnemar`.

    Returns:
        Two-sided p-value; it is no smaller than about 1e-15.
    """
    step = np.abs(np.asarray(net, dtype=np.float64))
    step, total = step[step > 0], abs(float(np.sum(net)))
    if not len(step) or total == 0:
        return 1.0
    whole = np.rint(step)
    if whole.sum() > EXACT or not whole.all() or not np.allclose(step, whole, rtol=0, atol=1e-9):
        if (p := _each_swap(step / step.max(), total / step.max(), mid_p)) is not None:
            return p
        return float(2 * stats.norm.sf(total / np.sqrt(step @ step)))
    chance = np.ones(1)
    for size, clusters in zip(*np.unique(whole.astype(np.int64), return_counts=True), strict=True):
        own = np.zeros(size * clusters + 1)
        own[::size] = stats.binom.pmf(np.arange(clusters + 1), clusters, 0.5)
        chance = signal.convolve(chance, own).clip(0, 1)
    least = round((whole.sum() - total) / 2)
    p = 2 * float(chance[: least + 1].sum()) - (float(chance[least]) if mid_p else 0.0)
    return min(1.0, max(p, np.finfo(np.float64).eps))


def _each_swap(step: F64, total: float, mid_p: bool) -> float | None:
    """The exact p-value of steps [K] of any size; None where their sums are too many.

    Weighted images are few steps of a large or uneven size: a normal sum of four of them is not.
    """
    sizes, clusters = np.unique(step.round(12), return_counts=True)
    if np.log(clusters + 1.0).sum() > np.log(EXACT):
        return None
    value, chance = np.zeros(1), np.ones(1)
    for size, count in zip(sizes, clusters, strict=True):
        swapped = np.arange(count + 1)
        value = np.add.outer(value, size * (count - 2 * swapped)).ravel()
        chance = np.outer(chance, stats.binom.pmf(swapped, count, 0.5)).ravel()
    beyond = np.abs(value) - total
    same = np.abs(beyond) < 1e-9 * step.sum()
    p = float(chance[(beyond > 0) & ~same].sum()) + float(chance[same].sum()) / (1 + mid_p)
    return min(1.0, max(p, np.finfo(np.float64).eps))


EXACT = 200_000
"""Sums of so many answers are as good as normal, and exact ones would take seconds."""


def mcnemar_test(first: Predictions, second: Predictions, *, mid_p: bool = True) -> float:
    """`mcnemar` of two models' predictions.

    Images of a cluster are swapped together (`clustered_mcnemar`); where there are several seeds,
    `moenas.evaluation.comparison.Comparison` is the test.

    Raises:
        DataError: They are not of the same images.
    """
    one, two = aligned([first, second])
    net = one.correct.astype(np.float64) - two.correct
    return clustered_mcnemar(np.bincount(one.cluster, net), mid_p=mid_p)


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's adjusted p-values, in the given order: below 0.05, the whole family errs in 5 %.

    Raises:
        DataError: A p-value is not in 0–1.
    """
    p = np.asarray(p_values, dtype=np.float64)
    if not ((p >= 0) & (p <= 1)).all():
        raise DataError("Holm: a p-value is not between 0 and 1.")
    order = np.argsort(p, kind="stable")
    factors = np.arange(len(p), 0, -1)
    adjusted = np.empty_like(p)
    adjusted[order] = np.minimum(1, np.maximum.accumulate(p[order] * factors))
    return [float(value) for value in adjusted]


def minimum_detectable_gap(
    first: npt.ArrayLike,
    second: npt.ArrayLike,
    accuracy: float,
    *,
    power: float = 0.8,
    level: float = 0.05,
) -> npt.NDArray[np.float64]:
    """Smallest true gap in accuracy between two groups that a test would probably find.

    Args:
        first: Independent images of one group (of clustered ones: the effective number).
        second: Of the other.
        accuracy: Of the model, 0–1.
        power: How probably.
        level: Of the two-sided test.

    Raises:
        DataError: A group has no images, or a probability is not in 0–1.
    """
    one, two = np.asarray(first, dtype=np.float64), np.asarray(second, dtype=np.float64)
    if not ((one > 0).all() and (two > 0).all()):
        raise DataError("The minimum detectable gap needs images in both groups.")
    if not (0 <= accuracy <= 1 and 0 < power < 1 and 0 < level < 1):
        raise DataError("accuracy, power and level must be between 0 and 1.")
    z = stats.norm.isf(level / 2) + stats.norm.isf(1 - power)
    result: npt.NDArray[np.float64] = z * np.sqrt(accuracy * (1 - accuracy) * (1 / one + 1 / two))
    return result
