"""The clustered, stratified bootstrap, on counts instead of rows.

Images of one cluster (an emoji's concept, a person, a photograph) are not independent, so clusters
are what is drawn. Each cluster is a vector of counts; a draw is a vector of weights of clusters;
so all draws of all cells are one matrix product, and clusters with equal counts are drawn together
by their number (binomially), which is the same distribution.

Strata: clusters with persons only, without persons, and mixed ones are drawn apart, so every draw
has the test set's composition. In a stratum of K clusters K − 1 are drawn and weigh K / (K − 1)
(Rao and Wu 1988): plain draws of K would understate the variance by (K − 1) / K. In strata of very
many clusters that differ, weights are Poisson, the limit of multinomial ones. A cluster that is
alone in its stratum joins the largest one.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt
from scipy import stats

from moenas.errors import DataError
from moenas.evaluation.statistics.intervals import satterthwaite
from moenas.metrics.tally import F64, Cells, Tally, weights
from moenas.predictions import Predictions
from moenas.runtime import generator

I64 = npt.NDArray[np.int64]

_CHUNK = 4_000_000
"""Numbers held at a time."""
_FEW_PATTERNS = 400
"""Above, the weights of clusters are drawn one by one (Poisson), which is faster."""
_POISSON = stats.poisson(1).ppf((np.arange(2**16) + 0.5) / 2**16).astype(np.int8)
"""Weights of mean 1 by a 16-bit die."""


def aligned(tables: Sequence[Predictions]) -> list[Predictions]:
    """The tables with the same images in the same, canonical order.

    Raises:
        DataError: There is no table, or their images or what is known of them differ.
    """
    if not tables:
        raise DataError("There are no predictions to compare.")
    result = []
    for table in tables:
        # A person with several tones has several rows: the group tells them apart.
        order = np.lexsort((table.group, table.frame["image_id"].to_numpy(dtype=str)))
        result.append(Predictions(table.frame.iloc[order], table.threshold))
    first = result[0].frame
    for number, table in enumerate(result[1:], start=2):
        for column in ("image_id", "label", "group", "lighting", "cluster", "weight"):
            if len(first) != len(table) or not first[column].equals(table.frame[column]):
                raise DataError(
                    f"Predictions 1 and {number} differ in column '{column}': models can only be "
                    "compared on the same images."
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

    def weigh(self, draws: int, rng: np.random.Generator) -> F64:
        """[draws, P] weights of the patterns in each draw."""
        k = self.clusters
        if k == 1:
            return np.ones((draws, 1))
        if len(self.number) <= _FEW_PATTERNS:
            drawn = rng.multinomial(k - 1, self.number / k, size=draws).astype(np.float64)
            return drawn * (k / (k - 1))
        weights = np.empty((draws, len(self.number)))
        once = int(np.searchsorted(self.number, 2))
        dice = rng.integers(0, len(_POISSON), size=(draws, once), dtype=np.uint16)
        weights[:, :once] = _POISSON.take(dice)
        weights[:, once:] = rng.poisson(self.number[once:], size=(draws, len(self.number) - once))
        return weights


def _strata(total: F64, number: I64) -> I64:
    """[P] the stratum of each pattern of counts [P, C] by the labels in it."""
    half = total.shape[1] // 2
    kinds = 2 * (total[:, half:].sum(1) > 0) + (total[:, :half].sum(1) > 0)
    sizes = np.bincount(kinds, number, minlength=4)
    result: I64 = np.where(sizes[kinds] > 1, kinds, int(np.argmax(sizes)))
    return result


class Clusters:
    """The clusters of one split, with the answers of one or more models on the same images.

    Args:
        tables: Predictions of each model for the split.

    Raises:
        DataError: The tables are empty or not of the same images.
    """

    def __init__(self, tables: Sequence[Predictions]) -> None:
        self.tables = aligned(tables) if len(tables) != 1 else list(tables)
        first = self.tables[0]
        self.cells = Cells.of(first)
        size = int(np.prod(self.cells.shape))
        cell, weight = self.cells.index(first), weights(first)
        right = np.stack([table.correct for table in self.tables])
        # Rows are numbered by content, so nothing depends on their order or on clusters' names.
        _, kind = np.unique(weight, return_inverse=True)
        for feature in (cell, *right):
            _, kind = np.unique(kind * size + feature, return_inverse=True)
        _, cluster = np.unique(first.frame["cluster"].to_numpy(dtype=str), return_inverse=True)
        order = np.lexsort((kind, cluster))
        kind, cluster, cell = kind[order], cluster[order], cell[order]
        weight, right = weight[order], right[:, order]
        starts = np.flatnonzero(np.diff(cluster, prepend=-1))
        hashes = np.random.default_rng(0).integers(0, 2**64, int(kind.max()) + 1, dtype=np.uint64)
        keys = np.add.reduceat(hashes[kind], starts)
        _, sample, number = np.unique(keys, return_index=True, return_counts=True)
        slot = np.full(len(starts), -1)
        slot[sample] = np.arange(len(sample))
        row_slot = slot[cluster]
        rows = row_slot >= 0
        index = row_slot[rows] * size + cell[rows]

        def count(values: F64) -> F64:
            counts = np.bincount(index, values[rows], len(sample) * size).astype(np.float64)
            return counts.reshape(-1, size)

        total = count(weight)
        correct = np.stack([count(weight * model) for model in right])
        kinds = _strata(total, number)
        rare = np.argsort(number, kind="stable")
        number, total, correct = number[rare], total[rare], correct[:, rare]
        kinds = kinds[rare]
        self.strata = [
            Stratum(number[kinds == k], total[kinds == k], correct[:, kinds == k])
            for k in np.unique(kinds)
        ]

    @property
    def number(self) -> I64:
        """[P] clusters that have the counts of `counts`, over all strata."""
        return np.concatenate([stratum.number for stratum in self.strata])

    def counts(self, model: int = 0) -> Tally:
        """Counts of a model, one pattern of clusters on the leading axis, [P, Y, L, G + 1]."""
        total = np.concatenate([stratum.total for stratum in self.strata])
        correct = np.concatenate([stratum.correct[model] for stratum in self.strata])
        shape = (-1, *self.cells.shape)
        return Tally(self.cells, total.reshape(shape), correct.reshape(shape))

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
            chunk = max(1, _CHUNK // len(stratum.number))
            for start in range(0, draws, chunk):
                stop = min(start + chunk, draws)
                sums[start:stop] += stratum.weigh(stop - start, rng) @ counts
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
