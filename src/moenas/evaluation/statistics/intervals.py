"""Intervals: Wilson's for shares, Student's t for estimates."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import optimize, special, stats

from moenas.errors import DataError

F64 = npt.NDArray[np.float64]
Parts = Sequence[tuple[float, float]]
"""Independent parts of a variance, each with its degrees of freedom."""

CONFIDENCE = 0.95
"""Of all intervals, unless said."""

TINY = 1e-300
"""No p-value is smaller."""

TOO_FEW = 0.05
"""A group whose accuracy is known no better than ± this (95 %) has too few images."""


def wilson(
    successes: npt.ArrayLike,
    n: npt.ArrayLike,
    confidence: float = CONFIDENCE,
    degrees: npt.ArrayLike = np.inf,
) -> tuple[F64, F64]:
    """Wilson's score interval of shares (vectorised); (0, 1) where ``n`` is 0.

    Args:
        successes: Number of successes; may be fractional, as may ``n``, for effective sizes.
        n: Number of trials.
        confidence: Coverage, 0–1.
        degrees: Degrees of freedom of the t quantile that takes the normal one's place where the
            variance was itself estimated from few clusters.

    Raises:
        DataError: A number of successes is not between 0 and its ``n``.
    """
    count, size = np.broadcast_arrays(
        np.asarray(successes, dtype=np.float64), np.asarray(n, dtype=np.float64)
    )
    if not ((count >= 0) & (count <= size * (1 + 1e-12))).all():
        raise DataError(
            "Wilson: the number of successes must be between 0 and the number of trials."
        )
    z2 = _quantile(confidence, degrees) ** 2
    safe = np.where(size > 0, size, 1.0)
    share = np.minimum(count / safe, 1.0)
    centre = (share + z2 / (2 * safe)) / (1 + z2 / safe)
    half = np.sqrt(z2) * np.sqrt(share * (1 - share) / safe + z2 / (4 * safe**2)) / (1 + z2 / safe)
    # At shares of 0 and 1 rounding could leave the bound just inside.
    low = np.where((size > 0) & (count > 0), np.maximum(centre - half, 0.0), 0.0)
    high = np.where((size > 0) & (share < 1), np.minimum(centre + half, 1.0), 1.0)
    return low, high


def _quantile(confidence: float, degrees: npt.ArrayLike) -> F64:
    """Two-sided t quantile; normal at infinite degrees of freedom."""
    if not 0 < confidence < 1:
        raise DataError(f"confidence is {confidence}; it must be between 0 and 1.")
    result: F64 = np.asarray(stats.t.ppf(0.5 + confidence / 2, degrees), dtype=np.float64)
    return result


def t_interval(
    value: float, variance: float, degrees: float, confidence: float = CONFIDENCE
) -> tuple[float, float]:
    """``value`` ± t quantile × standard error."""
    half = float(_quantile(confidence, degrees)) * float(np.sqrt(variance))
    return value - half, value + half


def half_width(parts: Parts, confidence: float = CONFIDENCE) -> float:
    """Half of an interval of an estimate whose variance is a sum: sqrt(Σ variance × t quantile²).

    Banerjee's (1960) interval for two means, for any number of parts. It covers at least as often
    as it says, at every level: a squared normal is below a weighted sum of F quantiles at least as
    often as below each of them, because its distribution is concave. One t quantile with
    Satterthwaite's degrees of freedom does not: a part known from two or three numbers, small by
    luck, lends the sum the many degrees of the other.

    Args:
        parts: Independent (variance, degrees of freedom).
        confidence: Coverage, 0–1.
    """
    return _half_width(parts, (1 - confidence) / 2)


def _half_width(parts: Parts, tail: float) -> float:
    return math.hypot(
        *(float(special.stdtrit(degrees, tail)) * math.sqrt(part) for part, degrees in parts)
    )


def p_value(value: float, parts: Parts) -> float:
    """Two-sided p-value of "the true value is 0": where `half_width` is ``value``.

    Never 0; 1 where nothing varies, for then there is nothing to judge by.
    """
    known = [(variance, degrees) for variance, degrees in parts if variance > 0]
    if value == 0 or not known:
        return 1.0
    # Each part alone would have a smaller p-value than their sum.
    single = [2 * special.stdtr(df, -abs(value) / math.sqrt(part)) for part, df in known]
    least = max(TINY, *map(float, single))

    def off(logarithm: float) -> float:
        return _half_width(known, math.exp(logarithm) / 2) - abs(value)

    # Where the other parts add nothing, rounding may put the root just below.
    if len(known) == 1 or off(math.log(least)) <= 0:
        return least
    return math.exp(float(optimize.brentq(off, math.log(least), 0.0, xtol=1e-13)))


def satterthwaite(variances: npt.ArrayLike, degrees: npt.ArrayLike) -> float:
    """Degrees of freedom of a sum of independent variance estimates (Welch–Satterthwaite).

    The fewest of all where nothing varies.
    """
    part: Any = np.asarray(variances, dtype=np.float64)
    total = part.sum()
    if total <= 0:
        return float(np.min(degrees))
    with np.errstate(divide="ignore"):
        return float(total**2 / (part**2 / np.asarray(degrees, dtype=np.float64)).sum())
