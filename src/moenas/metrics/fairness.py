"""Fairness over groups (skin tones): the paper's score, and what it hides.

The paper: ``fairness = (β − SPD) / β`` with β = 0.2 (Eq. 1) and ``SPD`` = Σ over the groups of
``abs(accuracy of group i − accuracy of the minority group)`` (Eq. 2). Table I can't come from that
sum; it can from the mean over the groups (PAPER row 1), which is therefore the default here. The
minority group is the one with the fewest images; ties go to the darker tone (PAPER row 2).

A group's accuracy is the share of right answers among its rows. Where images without a person have
no group, it is the group's recall (TPR).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np
import pandas as pd

from moenas.errors import DataError
from moenas.metrics.metric import METRICS, Metric
from moenas.metrics.tally import F64, Tally, minority, share, weights
from moenas.predictions import Predictions

BETA = 0.2
"""The paper's β: the SPD at which fairness is 0."""

Reduction = Literal["mean", "sum"]

MEASURED = ("n", "weight", "accuracy", "tpr", "fpr")
"""What `intersection_table` says of each combination."""


def skin_fairness(
    accuracy_by_group: Mapping[int, float] | Sequence[float],
    counts_by_group: Mapping[int, float] | Sequence[float],
    beta: float = BETA,
    reduction: Reduction = "mean",
) -> float:
    """The paper's fairness: 1 is fair; not clamped, so a very unfair model is below 0 (Eq. 1–2).

    Args:
        accuracy_by_group: Accuracy (0–1) by group, or in ascending order of the groups (light to
            dark). Groups without images are left out.
        counts_by_group: Images (or their weights) of the same groups.
        beta: SPD at which fairness is 0.
        reduction: ``"mean"`` as Table I shows, or ``"sum"`` as Eq. 2 is printed.

    Raises:
        DataError: The groups differ, fewer than two have images, or a number is out of its range.
    """
    if isinstance(accuracy_by_group, Mapping) != isinstance(counts_by_group, Mapping):
        raise DataError("Give accuracies and counts of the groups both by name or both in order.")
    if isinstance(accuracy_by_group, Mapping) and isinstance(counts_by_group, Mapping):
        if set(accuracy_by_group) != set(counts_by_group):
            odd = sorted(set(accuracy_by_group) ^ set(counts_by_group))
            raise DataError(f"Groups {odd} have an accuracy or a count, but not both.")
        names = sorted(accuracy_by_group)
        accuracy = np.array([accuracy_by_group[name] for name in names], dtype=np.float64)
        counts = np.array([counts_by_group[name] for name in names], dtype=np.float64)
    else:
        accuracy = np.asarray(accuracy_by_group, dtype=np.float64)
        counts = np.asarray(counts_by_group, dtype=np.float64)
    if accuracy.shape != counts.shape or accuracy.ndim != 1:
        raise DataError(f"{accuracy.size} accuracies but {counts.size} counts of groups.")
    if not (counts >= 0).all():
        raise DataError("A count of images is negative or not a number.")
    accuracy, counts = accuracy[counts > 0], counts[counts > 0]
    if len(counts) < 2:
        raise DataError("Fairness compares groups: at least two need images.")
    if not ((accuracy >= 0) & (accuracy <= 1)).all():
        raise DataError("An accuracy of a group is not in 0–1.")
    if beta <= 0:
        raise DataError(f"beta is {beta}; it must be above 0.")
    return float(fairness_from_spd(spd(accuracy, minority(counts), reduction), beta))


def spd(accuracy: F64, reference: int, reduction: Reduction = "mean") -> F64:
    """Statistical parity difference of group accuracies [..., G] -> [...] (Eq. 2).

    Args:
        accuracy: Groups on the last axis; NaN for a group without images, which is left out.
        reference: Index of the minority group.
        reduction: Over the groups; the minority group counts, with its 0.

    Raises:
        DataError: The reduction is unknown.
    """
    gaps = np.abs(accuracy - accuracy[..., reference, None])
    missing = np.isnan(gaps)
    sums: F64 = np.where(missing, 0.0, gaps).sum(-1)
    total: F64 = np.where(missing[..., reference], np.nan, sums)
    if reduction == "mean":
        return share(total, (~missing).sum(-1).astype(np.float64))
    if reduction == "sum":
        return total
    raise DataError(f"There is no reduction '{reduction}'; it is 'mean' or 'sum'.")


def fairness_from_spd(value: F64, beta: float = BETA) -> F64:
    """Eq. 1."""
    return np.asarray((beta - value) / beta, dtype=np.float64)


def _accuracies(tally: Tally, label: int | None = None) -> F64:
    """[..., G] accuracy of each group; a single NaN where there are not two groups to compare."""
    accuracy, _ = tally.by_group(label)
    if len(tally.cells.groups) < 2:
        return np.full((*accuracy.shape[:-1], 1), np.nan)
    return accuracy


def spd_of(tally: Tally, reduction: Reduction = "mean") -> F64:
    """[...] SPD of the tally's groups."""
    accuracy = _accuracies(tally)
    reference = tally.cells.reference if accuracy.shape[-1] > 1 else 0
    assert reference is not None
    return spd(accuracy, reference, reduction)


def gap_of(tally: Tally) -> F64:
    """[...] accuracy of the lightest group minus that of the darkest, −1–1."""
    accuracy = _accuracies(tally)
    gap: F64 = accuracy[..., 0] - accuracy[..., -1]
    return gap


def worst_group_of(tally: Tally) -> F64:
    """[...] accuracy of the group with the lowest one, 0–1."""
    worst: F64 = np.fmin.reduce(_accuracies(tally), axis=-1)
    return worst


def equal_opportunity_of(tally: Tally) -> F64:
    """[...] highest minus lowest recall (TPR) of the groups, 0–1; 0 is fair, NaN without two."""
    recall = _accuracies(tally, label=1)
    spread: F64 = np.fmax.reduce(recall, axis=-1) - np.fmin.reduce(recall, axis=-1)
    return np.where(np.isfinite(recall).sum(axis=-1) < 2, np.nan, spread)


def minority_group(predictions: Predictions) -> int | None:
    """The group with the fewest images (by weight), ties to the darker; None without groups."""
    cells = Tally.of(predictions).cells
    return None if cells.reference is None else cells.groups[cells.reference]


def refuse_taken(by: Sequence[str], made: Sequence[str]) -> None:
    """Refuse columns to group by that are called like those of the table that is made."""
    for name in by:
        if name in made:
            raise DataError(
                f"The column '{name}' is called like one of the table that is made: give it "
                "another name to group by it."
            )


def intersection_table(predictions: Predictions, by: Sequence[str] = ("group",)) -> pd.DataFrame:
    """Scores of each combination of attributes that has images of any weight, e.g. tone × light.

    Args:
        predictions: A table.
        by: Columns to cross, ``("group", "lighting")`` or any other attribute's. Rows where one is
            missing are left out.

    Returns:
        One row per combination, sorted: ``*by, n, weight, accuracy, tpr, fpr`` (NaN: undefined).

    Raises:
        DataError: A column does not exist, or has the name of one that is made.
    """
    for name in by:
        if name not in predictions.frame:
            raise DataError(
                f"The predictions have no column '{name}' to group by. "
                f"They have: {', '.join(predictions.frame.columns)}."
            )
    refuse_taken(by, MEASURED)
    weight = weights(predictions)
    persons = weight * predictions.label
    counted = {  # by number: the attributes may have any name
        0: np.ones(len(weight)),
        1: weight,
        2: weight * predictions.correct,
        3: persons,
        4: persons * predictions.correct,
    }
    frame = predictions.frame[list(by)].join(pd.DataFrame(counted))[weight > 0]
    sums = frame.groupby(list(by), observed=True, sort=True).sum().reset_index()
    n, total, right, persons, seen = (sums[number].to_numpy(dtype="float64") for number in counted)
    table = sums[list(by)].copy()
    table["n"], table["weight"] = n.astype(np.int64), total
    table["accuracy"] = share(right, total)
    table["tpr"] = share(seen, persons)
    table["fpr"] = 1 - share(right - seen, total - persons)
    return table


def group_table(predictions: Predictions) -> pd.DataFrame:
    """`intersection_table` of the groups alone."""
    return intersection_table(predictions, ("group",))


_GROUPS = "images of at least two groups (column 'group')"

for _metric in (
    Metric.of_tally("fairness", "max", lambda t: fairness_from_spd(spd_of(t)), _GROUPS),
    Metric.of_tally("fairness_sum", "max", lambda t: fairness_from_spd(spd_of(t, "sum")), _GROUPS),
    Metric.of_tally("spd_mean", "min", spd_of, _GROUPS),
    Metric.of_tally("spd_sum", "min", lambda t: spd_of(t, "sum"), _GROUPS),
    Metric.of_tally("gap_lightest_darkest", "zero", gap_of, _GROUPS),
    Metric.of_tally("worst_group_accuracy", "max", worst_group_of, _GROUPS),
    Metric.of_tally(
        "equal_opportunity", "min", equal_opportunity_of, f"{_GROUPS} with persons in them"
    ),
):
    METRICS.add(_metric.name, _metric)

fairness = METRICS["fairness"].function
