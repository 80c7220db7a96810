"""Clusters of one size that swap groups, drawn from the normal distribution they tend to.

Two independent random orders are at work: which cluster's answers meet which cluster's groups, and
which row of the one meets which row of the other. Sums of such meetings have covariances that are
known exactly (Hoeffding 1951) and, where every group has many right and wrong answers, are normal.

Axes: K clusters, m rows each, M models, G groups. With a_k the answers' sums [M] of a cluster,
P_k the weights' sums [G], and S(x) the scatter of x about its mean,

    covariance = S(a) / m² ⊗ S(P) / (K − 1)
               + mean over k of S(answers within k) / (m − 1) ⊗ Σ_k (Σ w² e e' − P_k P_k' / m).
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from moenas.metrics.tally import F64

I64 = npt.NDArray[np.int64]

ENOUGH = 100
"""So many right and wrong answers are expected in every group where sums count as normal: their
skewness is then below 0.1."""


def many_answers(group: I64, right: F64, groups: int) -> bool:
    """Whether each of the groups present has enough rows: group [n], right [n, M]."""
    size = np.bincount(group, minlength=groups)
    mean = right.mean(0)
    return bool(size[size > 0].min() * np.minimum(mean, 1 - mean).min() >= ENOUGH)


def swap_limit(
    group: I64,
    weight: F64,
    right: F64,
    rows_each: int,
    shape: tuple[int, int, int],
    rng: np.random.Generator,
) -> F64:
    """Sums of each group's weight and right answers; rows come cluster by cluster.

    Args:
        group: [K m] index of each row's group.
        weight: [K m].
        right: [K m, M] answers, 0 or 1.
        rows_each: m.
        shape: (B, 1 + M, G).
        rng: Where the draws come from.

    Returns:
        [B, 1 + M, G].
    """
    draws, width, groups = shape
    models, clusters = width - 1, len(group) // rows_each
    total = np.bincount(group, weight, groups)
    mean = right.mean(0)
    row = np.repeat(np.arange(clusters), rows_each)
    profile = np.zeros((clusters, groups))
    np.add.at(profile, (row, group), weight)
    answers = right.reshape(clusters, rows_each, models)
    share = answers.mean(1)
    covariance = np.kron(_scatter(share), _scatter(profile)) / (clusters - 1)
    if rows_each > 1:
        apart = (answers - share[:, None]).reshape(-1, models)
        places = np.diag(np.bincount(group, weight**2, groups)) - profile.T @ profile / rows_each
        covariance += np.kron(apart.T @ apart, places) / (clusters * (rows_each - 1))
    sums = np.empty(shape)
    sums[:, 0] = total
    expected = np.outer(mean, total).ravel()
    drawn = rng.multivariate_normal(expected, covariance, size=draws, method="eigh")
    sums[:, 1:] = drawn.reshape(draws, models, groups)
    return sums


def _scatter(values: F64) -> F64:
    """[C, C] sums of squares and products of [K, C] about the mean."""
    centred = values - values.mean(0)
    return np.asarray(centred.T @ centred, dtype=np.float64)
