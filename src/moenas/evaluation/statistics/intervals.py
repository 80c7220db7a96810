"""Intervals: Wilson's for shares, Student's t for estimates."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import stats

from moenas.errors import DataError

F64 = npt.NDArray[np.float64]

CONFIDENCE = 0.95
"""Of all intervals, unless said."""

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


def t_p_value(value: float, variance: float, degrees: float) -> float:
    """Two-sided p-value of "the true value is 0"; 1 where value and variance are both 0."""
    if variance <= 0:
        return 1.0 if value == 0 else 0.0
    return float(2 * stats.t.sf(abs(value) / np.sqrt(variance), degrees))


def satterthwaite(variances: npt.ArrayLike, degrees: npt.ArrayLike) -> float:
    """Degrees of freedom of a sum of independent variance estimates (Welch–Satterthwaite)."""
    part: Any = np.asarray(variances, dtype=np.float64)
    total = part.sum()
    if total <= 0:
        return float("inf")
    with np.errstate(divide="ignore"):
        return float(total**2 / (part**2 / np.asarray(degrees, dtype=np.float64)).sum())
