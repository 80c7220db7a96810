"""Two models on the same images, and many tests at once."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from scipy import stats

from moenas.errors import DataError
from moenas.evaluation.statistics.resampling import aligned
from moenas.predictions import Predictions


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


def mcnemar_test(first: Predictions, second: Predictions, *, mid_p: bool = True) -> float:
    """`mcnemar` of two models' predictions.

    Images count as independent; where they come in clusters, or where there are several seeds,
    `moenas.evaluation.comparison.compare` is the test.

    Raises:
        DataError: They are not of the same images.
    """
    one, two = aligned([first, second])
    only_one = int((one.correct & ~two.correct).sum())
    only_two = int((two.correct & ~one.correct).sum())
    return mcnemar(only_one, only_two, mid_p=mid_p)


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
