"""The clustered, stratified bootstrap, on counts instead of rows.

Images of one cluster (an emoji's concept, a person, a photograph) are not independent, so clusters
are what is drawn. Each cluster is a vector of counts; a draw is a vector of weights of clusters;
so all draws of all cells are one matrix product, and clusters with equal counts are drawn together
by their number, which is the same distribution.

Strata: clusters with persons only, without persons, and mixed ones are drawn apart, so every draw
has the test set's composition. In a stratum of K clusters K − 1 are drawn and weigh K / (K − 1)
(Rao and Wu 1988): plain draws of K would understate the variance by (K − 1) / K. In strata of many
clusters, numbers are Poisson and divided by what their sum is too large or small: given that sum T
they are multinomial, and the mean of 1 / T is 1 / (K − 1) but for a share of 1 / K. A cluster that
is alone in its stratum joins the largest one.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy import special

from moenas.errors import DataError
from moenas.evaluation.statistics.intervals import satterthwaite
from moenas.metrics.tally import F64, Cells, Tally, weights
from moenas.predictions import Predictions
from moenas.runtime import generator

B = npt.NDArray[np.bool_]
I64 = npt.NDArray[np.int64]

_CHUNK = 4_000_000
"""Numbers held at a time."""
_MANY = 200
"""From so many clusters in a stratum on, their numbers are Poisson, which is faster."""
_SIDES = 2**16
"""Of the dice that Poisson numbers are read from."""
_EXACT = 2**24
"""Below, single precision holds all whole numbers."""


def aligned(tables: Sequence[Predictions], names: Sequence[str] = ()) -> list[Predictions]:
    """The tables with the same images in the same, canonical order.

    Args:
        tables: At least one.
        names: What they are called in the error; by default their numbers from 1.

    Raises:
        DataError: There is no table, or their images or what is known of them differ.
    """
    if not tables:
        raise DataError("There are no predictions to compare.")
    result = []
    for table in tables:
        # A person with several tones has several rows: the group tells them apart.
        order = np.lexsort((table.group, table.frame["image_id"].to_numpy(dtype=str)))
        result.append(table.take(order))
    first = result[0].frame
    known = names or [str(number) for number in range(1, len(result) + 1)]
    for name, table in zip(known[1:], result[1:], strict=True):
        for column in ("image_id", "label", "group", "lighting", "cluster", "weight"):
            if len(first) != len(table) or not first[column].equals(table.frame[column]):
                raise DataError(
                    f"Predictions {known[0]} and {name} differ in column '{column}': models "
                    "can only be compared on the same images."
                )
    return result


@dataclasses.dataclass(frozen=True)
class Stratum:
    """Clusters that are drawn among themselves, as patterns of counts and how often each occurs.

    Shapes: P patterns, M models, C cells. ``number`` [P], ascending; ``total`` [P, C];
    ``correct`` [M, P, C].
    """

    number: I64
    total: F64
    correct: F64

    @property
    def clusters(self) -> int:
        """Number of clusters K."""
        return int(self.number.sum())

    def sums(self, counts: F64, draws: int, rng: np.random.Generator) -> F64:
        """[draws, C] of the patterns' counts [P, C], as often as each pattern is drawn."""
        k = self.clusters
        if k == 1:
            return np.broadcast_to(counts[0], (draws, counts.shape[1]))
        if k < _MANY:
            drawn = rng.multinomial(k - 1, self.number / k, size=draws)
            return np.asarray(drawn @ (counts * (k / (k - 1))), dtype=np.float64)
        whole = (counts == np.rint(counts)).all() and 2 * self.number @ counts.sum(1) < _EXACT
        values = np.hstack([counts, np.ones((len(counts), 1))])
        values = values.astype(np.float32 if whole else np.float64)
        result = np.empty((draws, counts.shape[1]))
        chunk = max(1, _CHUNK // len(self.number))
        for start in range(0, draws, chunk):
            stop = min(start + chunk, draws)
            drawn = _poisson(self.number, stop - start, rng).astype(values.dtype)
            found = (values.T @ drawn).T.astype(np.float64)
            result[start:stop] = found[:, :-1] * (k / found[:, -1:])
        return result


def _poisson(mean: I64, draws: int, rng: np.random.Generator) -> npt.NDArray[np.int32]:
    """[P, draws] Poisson numbers of ascending means [P]."""
    dice = rng.integers(0, _SIDES, size=(len(mean), draws), dtype=np.uint16)
    result = np.empty(dice.shape, dtype=np.int32)
    for value in np.unique(mean):
        start, stop = np.searchsorted(mean, [value, value + 1])
        result[start:stop] = _quantiles(int(value)).take(dice[start:stop])
    return result


@functools.lru_cache(maxsize=64)
def _quantiles(mean: int) -> npt.NDArray[np.int32]:
    """The Poisson number for each side of a die."""
    numbers = np.arange(max(0, int(mean - 6 * mean**0.5)), int(mean + 6 * mean**0.5) + 10)
    ends = np.rint(_SIDES * special.pdtr(numbers, mean)).astype(np.int64)
    return np.repeat(numbers, np.diff(ends, prepend=0)).astype(np.int32)


def _strata(negative: B, positive: B, number: I64) -> I64:
    """[P] the stratum of each pattern by whether it has images of either label."""
    kinds = negative + 2 * positive
    sizes = np.bincount(kinds, number, minlength=4)
    result: I64 = np.where(sizes[kinds] > 1, kinds, int(np.argmax(sizes)))
    return result


class Clusters:
    """The clusters of one split, with the answers of one or more models on the same images.

    Args:
        tables: Predictions of each model for the split.
        names: See `aligned`.

    Attributes:
        number: [P] clusters that have the counts of `counts`, over all strata.
        strata: Clusters that are drawn among themselves.

    Raises:
        DataError: The tables are empty or not of the same images.
    """

    def __init__(self, tables: Sequence[Predictions], names: Sequence[str] = ()) -> None:
        self.tables = aligned(tables, names) if len(tables) != 1 else list(tables)
        first = self.tables[0]
        self.cells = Cells.of(first)
        size = int(np.prod(self.cells.shape))
        cell, weight = self.cells.index(first), weights(first)
        right = np.stack([table.correct for table in self.tables])
        # Rows are numbered by content, so nothing depends on their order or on clusters' names.
        kind = pd.factorize(weight, sort=True)[0]
        for feature in (cell, *right):
            kind = pd.factorize(kind * size + feature, sort=True)[0]
        kinds_of_rows = int(kind.max()) + 1
        cluster = first.cluster
        order = np.argsort(cluster * kinds_of_rows + kind)
        kind, cluster = kind[order], cluster[order]
        starts = np.flatnonzero(np.diff(cluster, prepend=-1))
        hashes = np.random.default_rng(0).integers(0, 2**64, kinds_of_rows, dtype=np.uint64)
        keys = np.add.reduceat(hashes[kind], starts)
        _, sample, number = np.unique(keys, return_index=True, return_counts=True)
        patterns = len(sample)
        slot = np.full(len(starts), -1)
        slot[sample] = np.arange(patterns)
        slot = slot[cluster]
        order, slot = order[slot >= 0], slot[slot >= 0]  # the samples' rows alone
        cell, weight, right = cell[order], weight[order], right[:, order]
        negative, positive = (
            np.bincount(slot[own], weight[own], patterns) > 0
            for own in (cell < size // 2, cell >= size // 2)
        )
        kinds = _strata(negative, positive, number)
        place = np.lexsort((number, kinds))
        rank = np.empty_like(place)
        rank[place] = np.arange(patterns)
        index = rank[slot] * size + cell

        def count(values: F64) -> F64:
            counts = np.bincount(index, values, patterns * size)
            return np.asarray(counts, dtype=np.float64).reshape(patterns, size)

        self.number: I64 = number[place]
        self._total = count(weight)
        self._known: dict[int, tuple[F64, F64, F64, F64]] = {}
        if len(right) == 1:  # no copy: of a million images these are the largest tables
            self._correct = count(weight * right[0])[None]
        else:
            self._correct = np.stack([count(weight * answers) for answers in right])
        ends = np.cumsum(np.unique(kinds, return_counts=True)[1])
        self.strata = [
            Stratum(self.number[own], self._total[own], self._correct[:, own])
            for own in map(slice, [0, *ends[:-1]], ends)
        ]

    def counts(self, model: int = 0) -> Tally:
        """Counts of a model, one pattern of clusters on the leading axis, [P, Y, L, G + 1]."""
        shape = (-1, *self.cells.shape)
        total, correct = self._total, self._correct[model]
        return Tally(self.cells, total.reshape(shape), correct.reshape(shape))

    def by_light(self, model: int = 0) -> tuple[F64, F64]:
        """Total and correct weight of a model by label and light, [P, Y, L] each."""
        return self._margins(model)[:2]

    def by_group(self, model: int = 0) -> tuple[F64, F64]:
        """Total and correct weight of a model by group, [P, G] each."""
        return self._margins(model)[2:]

    def _margins(self, model: int) -> tuple[F64, F64, F64, F64]:
        """`by_light` and `by_group`; kept, for there may be a hundred thousand patterns."""
        if model not in self._known:
            labels, lights, groups = self.cells.shape
            parts = self._total, self._correct[model]
            cubes = [part.reshape(-1, labels * lights, groups) for part in parts]
            light = [(cube @ np.ones(groups)).reshape(-1, labels, lights) for cube in cubes]
            group = [(np.ones(labels * lights) @ cube)[:, :-1] for cube in cubes]
            self._known[model] = light[0], light[1], group[0], group[1]
        return self._known[model]

    def tallies(self) -> list[Tally]:
        """The tally of each model, as observed."""
        return [Tally.of(table, self.cells) for table in self.tables]

    def resample(self, draws: int, seed: int) -> list[Tally]:
        """Tallies of each model with ``draws`` leading; the same clusters for all models."""
        models = len(self.tables)
        used = np.flatnonzero(sum(s.total.sum(0) for s in self.strata))
        width = len(used)
        sums = np.zeros((draws, (models + 1) * width))
        for number, stratum in enumerate(self.strata):
            rng = generator(seed, "bootstrap", number)
            counts = np.hstack([stratum.total[:, used], *stratum.correct[:, :, used]])
            sums += stratum.sums(counts, draws, rng)
        return self._tallies(sums, used)

    def _tallies(self, sums: F64, used: I64) -> list[Tally]:
        """Tallies of sums [draws, (models + 1) * used]: totals first."""
        size, width = int(np.prod(self.cells.shape)), len(used)
        parts = []
        for part in range(len(self.tables) + 1):
            full = np.zeros((len(sums), size))
            full[:, used] = sums[:, part * width : (part + 1) * width]
            parts.append(full.reshape(-1, *self.cells.shape))
        return [Tally(self.cells, parts[0], correct) for correct in parts[1:]]

    def jackknife(self, value: Callable[[list[Tally]], F64]) -> tuple[float, float]:
        """Variance of a statistic by leaving out one cluster at a time, and its degrees of freedom.

        Args:
            value: From each model's tally (draws leading) to values [draws].

        Returns:
            (variance, degrees of freedom by Welch–Satterthwaite over the strata); (NaN, 0) of a
            single cluster, which tells nothing of the variance.
        """
        used = np.arange(int(np.prod(self.cells.shape)))
        counts = [np.hstack([s.total, *s.correct]) for s in self.strata]
        sums = [s.number @ count for s, count in zip(self.strata, counts, strict=True)]
        variances, degrees = [], []
        for stratum, count, own in zip(self.strata, counts, sums, strict=True):
            k = stratum.clusters
            if k == 1:
                return float("nan"), 0.0
            others = np.sum(sums, axis=0) - own
            left = (own - count) * (k / (k - 1))
            weight = stratum.number / k
            values = np.broadcast_to(value(self._tallies(others + left, used)), weight.shape)
            # A cluster without which the statistic is undefined tells nothing of its variance.
            keep = np.isfinite(values)
            mean = np.average(values[keep], weights=weight[keep]) if keep.any() else 0.0
            spread = float((weight[keep] * (values[keep] - mean) ** 2).sum())
            variances.append((k - 1) * spread)
            degrees.append(k - 1)
        return float(np.sum(variances)), satterthwaite(variances, degrees)
