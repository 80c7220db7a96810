"""The intervals of a model's scores on one split, by `shares` (see there why not a bootstrap)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from moenas.evaluation.statistics.gaps import (
    fairness_interval,
    gaps,
    group_shares,
    images_worth,
)
from moenas.evaluation.statistics.resampling import Clusters
from moenas.evaluation.statistics.shares import Shares, cluster_shares, combination
from moenas.metrics.tally import F64
from moenas.predictions import POOR_LIGHT

Interval = tuple[float, float]


def label_shares(
    clusters: Clusters, lights: Sequence[str] | None = None, models: Sequence[int] = (0,)
) -> Shares:
    """Right answers among images [without, with a person], the mean over models.

    Args:
        clusters: Of one split.
        lights: Classes of light that count; all by default.
        models: Whose answers.
    """
    known = [*clusters.cells.lights, None]
    keep = [n for n, light in enumerate(known) if lights is None or light in lights]
    total = clusters.by_light()[0][..., keep].sum(-1)
    correct = np.mean([clusters.by_light(m)[1][..., keep].sum(-1) for m in models], axis=0)
    return cluster_shares(clusters.number, total, correct, label_worth(clusters, lights))


def label_worth(clusters: Clusters, lights: Sequence[str] | None = None) -> F64 | None:
    """Number of images [without, with a person] that weights are worth; None where all are 1.

    Args:
        clusters: Of one split.
        lights: As in `label_shares`.
    """
    table = clusters.tables[0]
    counts = np.ones(len(table), dtype=np.bool_)
    if lights is not None:
        counts = table.frame["lighting"].isin(lights).to_numpy(dtype=np.bool_)
    return images_worth(table, counts & ~table.label, counts & table.label)


def balanced_interval(
    clusters: Clusters, lights: Sequence[str] | None = None, models: Sequence[int] = (0,)
) -> Interval | None:
    """Interval of balanced accuracy at 95 %, None where it is undefined; arguments as above."""
    return combination([[0.5, 0.5]], [label_shares(clusters, lights, models)])


def score_intervals(
    clusters: Clusters, held: Clusters | None, p_value: float, draws: int = 2000, seed: int = 0
) -> dict[str, Interval]:
    """Intervals at 95 % of the scores that have one, by name.

    Args:
        clusters: Of the split.
        held: Of validation; None leaves overfitting out.
        p_value: Of the noise floor; see `fairness_interval`.
        draws: Of the fairness interval.
        seed: Of the draws.
    """
    labels = label_shares(clusters)
    total, correct = (part.sum((-2, -1))[:, None] for part in clusters.by_light())
    table = clusters.tables[0]
    every = np.ones(len(table), dtype=np.bool_)
    whole = cluster_shares(clusters.number, total, correct, images_worth(table, every))
    found = {
        "accuracy": combination([[1.0]], [whole]),
        "balanced_accuracy": combination([[0.5, 0.5]], [labels]),
        "tpr": combination([[0.0, 1.0]], [labels]),
        "tnr": combination([[1.0, 0.0]], [labels]),
        "robustness": balanced_interval(clusters, POOR_LIGHT),
    }
    if held is not None:
        validation = label_shares(held)
        found["validation_accuracy"] = combination([[0.5, 0.5]], [validation])
        found["overfitting"] = combination([[0.5, 0.5], [-0.5, -0.5]], [validation, labels])
    if len(clusters.cells.groups) >= 2:
        shares = group_shares(clusters)
        ends = [1.0, *[0.0] * (len(shares.value) - 2), -1.0]
        found["gap_lightest_darkest"] = combination([ends], [shares])
        found["fairness"] = fairness_interval(gaps(clusters), p_value, draws, seed)
    return {name: bounds for name, bounds in found.items() if bounds is not None}
