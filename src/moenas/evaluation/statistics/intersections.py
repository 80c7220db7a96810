"""Intersections of attributes (tone × light, tone × gender): each against everyone else.

Fairness by one attribute can hide that one combination is served badly (Buolamwini and Gebru 2018).
The test is the score test of "this intersection is served like the rest" with clusters' own
variance: it needs no variance of the intersection itself, which a few images can't give.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from scipy import stats

from moenas.evaluation.statistics.intervals import TOO_FEW
from moenas.evaluation.statistics.paired import holm
from moenas.evaluation.statistics.shares import cluster_shares, combination
from moenas.metrics.fairness import intersection_table
from moenas.metrics.tally import F64, weights
from moenas.predictions import Predictions


def intersections(
    predictions: Predictions,
    by: Sequence[str] = ("group", "lighting"),
    *,
    level: float = 0.05,
    power: float = 0.8,
) -> pd.DataFrame:
    """Scores of each combination of attributes, with intervals, and what sets it apart.

    Args:
        predictions: One split.
        by: Columns to cross; any of the predictions' columns. Rows where one is missing are left
            out.
        level: Of the tests behind ``detectable``.
        power: How probably ``detectable`` would have been found.

    Returns:
        One row per combination that has images: ``*by``; ``n`` images, ``clusters``;
        ``accuracy, low, high, tpr, fpr`` (NaN: undefined); ``too_few`` where accuracy is known no
        better than ± `TOO_FEW`; ``gap`` to the accuracy of all other rows with ``gap_low,
        gap_high`` (95 %), ``p`` and ``p_holm`` over all rows; ``detectable``, the true gap that a
        single test of this row would probably find. NaN where there are no others.

    Raises:
        DataError: A column does not exist.
    """
    names = list(by)
    table = intersection_table(predictions, names)
    frame = predictions.frame
    known = np.asarray(frame[names].notna().all(axis=1), dtype=np.bool_)
    weight = weights(predictions)[known]
    correct = weight * predictions.correct[known]
    _, cluster = np.unique(predictions.cluster[known], return_inverse=True)
    cell = np.asarray(frame[known].groupby(names, observed=True, sort=True).ngroup())
    rows = []
    for number in range(len(table)):
        inside = cell == number
        rows.append(_apart(inside, cluster, weight, correct, level, power))
    found = pd.DataFrame(rows, columns=_COLUMNS)
    found["too_few"] = (found["high"] - found["low"]) / 2 > TOO_FEW
    tested = found["p"].notna()
    found["p_holm"] = np.nan
    found.loc[tested, "p_holm"] = holm(list(found.loc[tested, "p"]))
    result = pd.concat([table.drop(columns="weight"), found], axis=1)
    return result[[*names, "n", "clusters", "accuracy", "low", "high", "tpr", "fpr", "too_few",
                   "gap", "gap_low", "gap_high", "detectable", "p", "p_holm"]]  # fmt: skip


_COLUMNS = ["clusters", "low", "high", "gap", "gap_low", "gap_high", "detectable", "p"]


def _apart(
    inside: np.ndarray, cluster: np.ndarray, weight: F64, correct: F64, level: float, power: float
) -> tuple[float, ...]:
    """One intersection against the rest, see `_COLUMNS`."""
    parts = np.stack([inside, ~inside])
    k = int(cluster.max()) + 1
    total, right = (
        np.stack([np.bincount(cluster, values * part, k) for part in parts], axis=1, dtype=float)
        for values in (weight, correct)
    )
    size = (total.sum(0) ** 2) / np.maximum([(weight[part] ** 2).sum() for part in parts], 1e-300)
    shares = cluster_shares(np.ones(k, dtype=np.int64), total, right, size)
    own = int(shares.clusters[0]), float(shares.low[0]), float(shares.high[0])
    bounds = combination([[1.0, -1.0]], [shares])
    if bounds is None:
        return (*own, *[np.nan] * 5)
    share = total[:, 0].sum() / total.sum()
    mean = right.sum() / total.sum()
    # A cluster's pull on the gap, were all served alike.
    pull = (right - mean * total) @ np.array([1 / share, -1 / (1 - share)]) / total.sum()
    degrees = max(1.0, float(shares.clusters.min()) - 1)
    error = float(np.sqrt(pull @ pull * k / max(k - 1, 1)))
    gap = float(shares.value[0] - shares.value[1])
    p = float(2 * stats.t.sf(abs(gap) / error, degrees)) if error > 0 else 1.0
    reach = float(stats.t.isf(level / 2, degrees) + stats.t.isf(1 - power, degrees))
    return (*own, gap, *bounds, reach * error, p)
