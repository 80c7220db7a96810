"""Random relabellings of images that make no difference where routes do not depend on the label.

Axes: n images, U units, K numbers that describe a unit's route.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import pandas as pd

from moenas.runtime import generator

F32 = npt.NDArray[np.float32]
I64 = npt.NDArray[np.int64]

MIN_CLUSTERS = 10
"""Clusters of a size that fewer have swap values with clusters of other sizes."""


@dataclasses.dataclass(frozen=True)
class Units:
    """What is relabelled, block by block.

    Within a block values are shuffled. Blocks of a stratum also swap their values as a whole.

    Attributes:
        value: [U] index of the attribute's value.
        route: [U, K].
        block: [U] number of the block, ascending.
        stratum: [blocks] blocks of equal number swap; -1 where a block keeps its values.
        matched: Share of the units whose values stay within their matched set, 0–1.
    """

    value: I64
    route: F32
    block: I64
    stratum: I64
    matched: float

    def relabel(self, draws: int, rng: np.random.Generator) -> Iterator[I64]:
        """Yield ``draws`` times the values [U] of a relabelling."""
        size = np.bincount(self.block)
        start = np.cumsum(size) - size
        rank = np.arange(len(self.block)) - start[self.block]
        swapping = np.flatnonzero(self.stratum >= 0)
        swapping = swapping[np.argsort(self.stratum[swapping], kind="stable")]
        for _ in range(draws):
            shuffled = self.value[np.argsort(self.block + rng.random(len(self.block)))]
            donor = np.arange(len(size))
            moved = np.argsort(self.stratum[swapping] + rng.random(len(swapping)))
            donor[swapping] = swapping[moved]
            source = donor[self.block]
            # A larger block repeats the values of a smaller one.
            yield shuffled[start[source] + rank % size[source]]


def make_units(images: pd.DataFrame, value: I64, route: F32) -> Units:
    """Decide what may be relabelled without changing anything but the label.

    - Images of a matched set that differ in their value keep to the set: all else is equal there.
    - Images of a matched set that share their value are one unit, the mean of their routes: ten
      tones of one scene say nothing more about its light than one does.
    - Units of a cluster (a person, a photograph) are not independent: clusters swap all their
      values, and units within a cluster too. Clusters swap with those of their own size. Where the
      size all but tells the value, as when only one class has many images of a thing, a cluster
      of one value is one unit, the mean of as many as the smallest has: then any two may swap.

    Args:
        images: [n rows] with ``cluster`` and ``matched_set``.
        value: [n] index of the attribute's value.
        route: [n, K].
    """
    n = len(value)
    own = pd.Series([f"row-{row}" for row in range(n)])
    named = images["matched_set"].reset_index(drop=True)
    unit, _ = pd.factorize(("set-" + named.astype("str")).where(named.notna(), own))
    cluster, _ = pd.factorize(images["cluster"].reset_index(drop=True), use_na_sentinel=False)
    differs = _mixed(unit, value)

    # Blocks: matched sets that differ, then clusters. Units: their rows, then sets of one value.
    key = np.where(differs, unit, n + cluster)
    single = np.where(differs, np.arange(n), n + unit)
    first, mean = _means(single, route)
    key, codes, kept = key[first], value[first], differs[first]
    stratum = _strata(key, codes, kept)
    if stratum is None:
        whole = ~kept & ~_mixed(key, codes)
        same = ~whole | _as_many_of_each(key, whole)
        key, codes, kept, mean = key[same], codes[same], kept[same], mean[same]
        group = np.where(whole[same], key, 2 * n + np.arange(len(key)))
        first, mean = _means(group, mean)
        key, codes, kept = key[first], codes[first], kept[first]
    order = np.argsort(key, kind="stable")
    _, block = np.unique(key[order], return_inverse=True)
    last = np.cumsum(np.bincount(block)) - 1
    of_unit = np.zeros(len(key), dtype=np.int64) if stratum is None else stratum
    of_unit = np.where(kept, -1, of_unit)[order]
    return Units(
        codes[order],
        mean[order].astype(np.float32),
        block,
        of_unit[last],
        float(kept.mean()),
    )


def _means(group: I64, route: npt.NDArray[np.floating]) -> tuple[I64, npt.NDArray[np.float64]]:
    """The first row of each group and the group's mean route."""
    _, first, member = np.unique(group, return_index=True, return_inverse=True)
    mean = np.zeros((len(first), route.shape[1]))
    np.add.at(mean, member, route)
    return first, mean / np.bincount(member)[:, None]


def _as_many_of_each(block: I64, which: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    """[U] some units of each block, drawn: as many as the smallest of the blocks has."""
    _, index, size = np.unique(block[which], return_inverse=True, return_counts=True)
    drawn = np.argsort(index + generator(0, "routes", "units").random(len(index)))
    rank = np.empty(len(index), dtype=np.int64)
    rank[drawn] = np.arange(len(index)) - np.repeat(np.cumsum(size) - size, size)
    result = np.zeros(len(block), dtype=np.bool_)
    result[np.flatnonzero(which)] = rank < size.min(initial=len(block))
    return result


def _mixed(block: I64, value: I64) -> npt.NDArray[np.bool_]:
    """[U] whether a unit's block holds several values."""
    _, block = np.unique(block, return_inverse=True)
    low, high = np.full(len(block), value.max()), np.zeros(len(block), dtype=np.int64)
    np.minimum.at(low, block, value)
    np.maximum.at(high, block, value)
    return np.asarray((low != high)[block])


def _strata(block: I64, value: I64, kept: npt.NDArray[np.bool_]) -> I64 | None:
    """[U] blocks of equal number may swap; None where a block's size all but tells its value."""
    free = ~kept
    stratum = np.zeros(len(block), dtype=np.int64)
    if not free.any():
        return stratum
    _, index = np.unique(block[free], return_inverse=True)
    size = np.bincount(index)
    common = np.bincount(size)[size] >= MIN_CLUSTERS
    stratum[free] = np.where(common, size, 0)[index]
    table = pd.crosstab(stratum[free], value[free]).to_numpy()
    within = sum(_entropy(row) * row.sum() for row in table) / table.sum()
    return None if within < 0.5 * _entropy(table.sum(axis=0)) else stratum


def _entropy(counts: npt.NDArray[np.int64]) -> float:
    share = counts[counts > 0] / counts.sum()
    return float(-(share * np.log2(share)).sum())
