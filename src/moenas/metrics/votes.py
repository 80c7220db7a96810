"""What depends on how annotators' votes on a skin tone became groups.

Each function takes a predictions table to one in which an image may have several rows, one for each
group it counts in; every metric of groups can be computed of it. Metrics over all images (accuracy,
robustness) keep their meaning under ``argmax`` and ``soft`` alone, where an image counts once.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from moenas.metrics.fairness import group_table
from moenas.metrics.tally import F64, weights
from moenas.predictions import Predictions
from moenas.votes import I64, RULES, VOTE_COLUMNS, Rule, groups_of, votes_of

GIVEN, NEIGHBOURS = "as given", "±1 tone"


def by_votes(predictions: Predictions, rule: Rule) -> Predictions:
    """Group images by the votes on their skin tone.

    Images without votes keep one row, of no group; weights multiply those of the table.

    Args:
        predictions: A table with the columns `moenas.votes.VOTE_COLUMNS`.
        rule: ``argmax``, ``any`` or ``soft``.

    Raises:
        DataError: A column is missing, or a number of votes is none.
    """
    votes = votes_of(predictions.frame, "The predictions table")
    rows, tones, shares = groups_of(votes, rule)
    bare = np.flatnonzero(votes.sum(1) == 0)
    none = np.full(len(bare), -1)
    return _regrouped(
        predictions,
        np.append(rows, bare),
        np.append(tones, none),
        np.append(shares, np.ones(len(bare))),
    )


def with_neighbours(predictions: Predictions) -> Predictions:
    """Count each image in the groups next to its own as well, where those have images.

    How far scores of groups move shows what a label that is one tone off would do.
    """
    group = predictions.group
    groups = np.unique(group[group >= 0])
    rows, moved = [np.arange(len(group))], [group]
    for step in (-1, 1):
        near = np.flatnonzero((group >= 0) & np.isin(group + step, groups))
        rows.append(near)
        moved.append(group[near] + step)
    numbers = np.concatenate(moved)
    return _regrouped(predictions, np.concatenate(rows), numbers, np.ones(len(numbers)))


def sensitivity_table(predictions: Predictions) -> pd.DataFrame:
    """Scores of each group, as given, by each rule for votes, and with neighbouring tones.

    Returns:
        One row per rule and group: ``rule, group, n, weight, accuracy, tpr, fpr``. The rules for
        votes are there if the table has votes.

    Raises:
        DataError: A number of votes is none.
    """
    tables = {GIVEN: predictions, NEIGHBOURS: with_neighbours(predictions)}
    if all(name in predictions.frame for name in VOTE_COLUMNS):
        tables |= {rule: by_votes(predictions, rule) for rule in RULES}
    parts = [group_table(table).assign(rule=name) for name, table in tables.items()]
    found = pd.concat(parts, ignore_index=True)
    return found[["rule", *(name for name in found if name != "rule")]]


def _regrouped(predictions: Predictions, rows: I64, group: I64, share: F64) -> Predictions:
    """Rows of a table, in its order, each with a group (-1: none) and a share of its weight."""
    order = np.lexsort((group, rows))
    rows, group, share = rows[order], group[order], share[order]
    frame = predictions.frame.iloc[rows].reset_index(drop=True)
    frame["group"] = pd.Series(group, dtype="Int16").mask(group < 0)
    frame["weight"] = weights(predictions)[rows] * share
    return Predictions(frame, predictions.threshold)
