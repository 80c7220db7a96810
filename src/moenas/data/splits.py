"""Splits by cluster: what belongs together never lands on two sides."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
from scipy import sparse

from moenas.errors import DataError

SPLITS = ("train", "val", "search", "report")
"""``train`` fits weights, ``val`` sets thresholds and shows overfitting, ``search`` steers the
search, ``report`` is looked at once, at the end."""


def split_by_cluster(frame: pd.DataFrame, fractions: Mapping[str, float], seed: int) -> pd.Series:
    """Assign each row a split so that no cluster is in two and each stratum is shared out.

    Clusters are shuffled, then each goes to the split that is furthest below its share of rows,
    one stratum after the other. A cluster's stratum is its first row's ``stratum`` column, or
    else its label and group.

    Args:
        frame: Rows with ``cluster`` (or ``image_id``), and optionally ``stratum``, ``label``,
            ``group``.
        fractions: Share of rows of each split, e.g. ``{"train": 0.6, "val": 0.4}``; they are
            scaled to sum to 1.
        seed: The same seed gives the same splits, whatever the order of the rows.

    Returns:
        Names of splits, indexed as ``frame``.

    Raises:
        DataError: A fraction is negative, all are zero, or there are fewer clusters than splits.
    """
    names = [name for name, share in fractions.items() if share != 0]
    shares = np.array([fractions[name] for name in names], dtype=np.float64)
    if not names or not np.isfinite(shares).all() or (shares < 0).any():
        raise DataError(f"Split fractions must be positive numbers, not {dict(fractions)}.")
    shares /= shares.sum()

    cluster = frame["cluster"] if "cluster" in frame else frame["image_id"]
    table = pd.DataFrame({"cluster": cluster.astype(str), "stratum": _strata(frame)})
    table = table.sort_values(["cluster", "stratum"])
    sizes = table.groupby("cluster", sort=True).agg(rows=("stratum", "size"), s=("stratum", "min"))
    if len(sizes) < len(names):
        raise DataError(
            f"{len(sizes)} clusters cannot be split into {len(names)} parts ({', '.join(names)}): "
            "images of one cluster must stay together. Add images, or give fewer splits."
        )
    random = np.random.default_rng(seed)
    sizes = sizes.iloc[random.permutation(len(sizes))].sort_values("s", kind="stable")

    assigned = np.zeros(len(names))
    choice: dict[str, str] = {}
    rows = sizes["rows"].to_numpy(dtype=np.float64)
    for number, (name, count) in enumerate(zip(sizes.index, rows, strict=True)):
        deficit = shares * (assigned.sum() + count) - assigned
        empty = assigned == 0
        if len(sizes) - number <= empty.sum():  # the last clusters: no split may stay empty
            deficit = np.where(empty, deficit, -np.inf)
        best = int(np.argmax(deficit))
        assigned[best] += count
        choice[str(name)] = names[best]
    return cluster.astype(str).map(choice)


def joined_clusters(names: pd.Series, *others: pd.Series) -> pd.Series:
    """Join rows that have any value in common, be it through other rows, into one cluster.

    Args:
        names: Of clusters, of files, ...; none is missing.
        others: Further values of the same rows; missing ones join nothing.

    Returns:
        For each row the least of ``names`` in its cluster.
    """
    rows = np.arange(len(names))
    edges, nodes = [], len(names)
    for column in (names, *others):
        value, known = pd.factorize(column)
        edges.append((rows[value >= 0], nodes + value[value >= 0]))
        nodes += len(known)
    ends = np.concatenate([np.stack(pair) for pair in edges], axis=1)
    graph = sparse.coo_array((np.ones(ends.shape[1]), tuple(ends)), shape=(nodes, nodes))
    _, parts = sparse.csgraph.connected_components(graph, directed=False)
    return names.groupby(parts[: len(names)]).transform("min")


def _strata(frame: pd.DataFrame) -> pd.Series:
    if "stratum" in frame:
        return frame["stratum"].astype("str").fillna("none")
    parts = [
        frame[name].astype("str").fillna("none") for name in ("label", "group") if name in frame
    ]
    result = pd.Series("", index=frame.index)
    for part in parts:
        result = result + "/" + part
    return result
