"""Intersections of attributes (tone × light, tone × gender): each against everyone else.

Fairness by one attribute can hide that one combination is served badly (Buolamwini and Gebru 2018).
Whether chance explains a gap is told by permuting rows' intersections, as in the noise floor: small
intersections of a good model have few wrong answers, of which no normal distribution knows enough.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from scipy import stats

from moenas.evaluation.statistics.intervals import TOO_FEW
from moenas.evaluation.statistics.noise_floor import permuted_counts
from moenas.evaluation.statistics.paired import holm
from moenas.evaluation.statistics.shares import cluster_shares, combination
from moenas.metrics.fairness import intersection_table, refuse_taken
from moenas.metrics.tally import F64, Cells, share, weights
from moenas.predictions import Predictions

COLUMNS = (
    "n", "clusters", "accuracy", "low", "high", "tpr", "fpr", "too_few", "gap", "gap_low",
    "gap_high", "detectable", "p", "p_holm",
)  # fmt: skip


def intersections(
    predictions: Predictions,
    by: Sequence[str] = ("group", "lighting"),
    *,
    level: float = 0.05,
    power: float = 0.8,
    draws: int = 5000,
    seed: int = 0,
) -> pd.DataFrame:
    """Scores of each combination of attributes, with intervals, and what sets it apart.

    Args:
        predictions: One split.
        by: Columns to cross; any of the predictions' columns. Rows where one is missing are left
            out.
        level: Of the tests behind ``detectable``.
        power: How probably ``detectable`` would have been found.
        draws: Permutations behind ``p``.
        seed: Of the permutations.

    Returns:
        One row per combination that has images: ``*by``; ``n`` images, ``clusters``;
        ``accuracy, low, high, tpr, fpr`` (NaN: undefined); ``too_few`` where accuracy is known no
        better than ± `TOO_FEW`; ``gap`` to the accuracy of all other rows with ``gap_low,
        gap_high`` (95 %), ``p`` and ``p_holm`` over all rows; ``detectable``, the true gap that a
        single test of this row would probably find. NaN where there are no others.

    Raises:
        DataError: A column does not exist, or has the name of one that is made.
    """
    names = list(by)
    refuse_taken(names, COLUMNS)
    table = intersection_table(predictions, names).drop(columns="weight")
    known = predictions.frame[names].notna().all(axis=1).to_numpy() & (weights(predictions) > 0)
    frame = predictions.frame[known]
    cell = np.asarray(frame.groupby(names, observed=True, sort=True).ngroup())
    part = Predictions(frame.assign(group=cell), predictions.threshold)
    apart = [_apart(part, cell == number) for number in range(len(table))]
    found = pd.DataFrame(apart, columns=["clusters", "low", "high", "gap", "gap_low", "gap_high"])
    found["too_few"] = (found["high"] - found["low"]) / 2 > TOO_FEW
    found[["detectable", "p", "p_holm"]] = np.nan
    if len(table) > 1:
        null = _null_gaps(part, draws, seed)
        reach = stats.norm.isf(level / 2) + stats.norm.isf(1 - power)
        found["detectable"] = reach * np.nanstd(null, axis=0)
        middle = np.nanmean(null, axis=0)
        off = np.abs(found["gap"].to_numpy() - middle) - 1e-9
        known = np.isfinite(null).sum(0)
        found["p"] = ((np.abs(null - middle) >= off).sum(0) + 1) / (known + 1)
        found["p_holm"] = holm(list(found["p"]))
    return pd.concat([table, found], axis=1)[[*names, *COLUMNS]]


def _null_gaps(part: Predictions, draws: int, seed: int) -> F64:
    """[draws, cells] gaps to the others, with intersections permuted."""
    counts = permuted_counts([part], Cells.of(part), draws, seed)
    total, right = counts[:, 0], counts[:, 1]
    others = total.sum(1, keepdims=True) - total, right.sum(1, keepdims=True) - right
    return np.asarray(share(right, total) - share(others[1], others[0]), dtype=np.float64)


def _apart(part: Predictions, inside: np.ndarray) -> tuple[float, ...]:
    """Clusters, interval, gap to the others and its interval of one intersection."""
    cluster, weight = part.cluster, weights(part)
    correct = weight * part.correct
    parts = np.stack([inside, ~inside])
    total, right = (
        np.stack([np.bincount(cluster, values * rows) for rows in parts], axis=1, dtype=float)
        for values in (weight, correct)
    )
    squares = np.array([(weight[rows] ** 2).sum() for rows in parts])
    size = np.nan_to_num(share(total.sum(0) ** 2, squares))
    shares = cluster_shares(np.ones(len(total), dtype=np.int64), total, right, size)
    own = int(shares.clusters[0]), float(shares.low[0]), float(shares.high[0])
    bounds = combination([[1.0, -1.0]], [shares])
    if bounds is None:
        return (*own, np.nan, np.nan, np.nan)
    return (*own, float(shares.value[0] - shares.value[1]), *bounds)
