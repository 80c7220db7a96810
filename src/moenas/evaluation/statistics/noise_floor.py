"""The noise floor: what a perfectly fair model would score, by permuting groups.

Group accuracies measured on a few hundred images differ by chance, so a perfectly fair model does
not score a fairness of 1 (with the paper's group sizes it scores 93–94 %). Here the groups' labels
are permuted in every way that would make no difference to a fair model; the fairness of the
permuted tables is the floor, and the share of them that is as unfair as the model is the p-value.

What is permuted:

- Where images come in matched sets (one scene in every tone), the tones of a scene are permuted
  among themselves, alike for all scenes of a cluster: a concept that happens to be easier in one
  tone is chance too, when the next concept is easier in another.
- Else, clusters of equal size swap their groups, and images within a cluster do.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from moenas.errors import DataError
from moenas.evaluation.statistics.permutation import permute_blocks, swap_clusters
from moenas.evaluation.statistics.resampling import aligned
from moenas.metrics.fairness import fairness_from_spd, spd
from moenas.metrics.tally import F64, Cells, share, weights
from moenas.predictions import Predictions
from moenas.runtime import generator

I64 = npt.NDArray[np.int64]


@dataclasses.dataclass(frozen=True)
class NoiseFloor:
    """Fairness (mean over groups, 1 = fair) of a perfectly fair model with these data.

    ``mean``, ``sd``, ``low`` (5 % quantile); ``p_value``: how often it is as unfair as the model,
    (b + 1) / (B + 1); ``spd``: the permuted models' SPD [B].
    """

    mean: float
    sd: float
    low: float
    p_value: float
    spd: F64 = dataclasses.field(repr=False, compare=False)


def noise_floor(
    predictions: Predictions | Sequence[Predictions], draws: int = 10_000, seed: int = 0
) -> NoiseFloor:
    """Permutation test of fairness, for one model or the mean over several seeds of it.

    Args:
        predictions: One split's predictions, or those of each seed on the same images.
        draws: Number of permutations B.
        seed: Of the permutations.

    Raises:
        DataError: Fewer than two groups have images.
    """
    tables = [predictions] if isinstance(predictions, Predictions) else list(predictions)
    tables = aligned(tables) if len(tables) != 1 else tables
    cells = Cells.of(tables[0])
    if cells.reference is None or len(cells.groups) < 2:
        raise DataError("The noise floor of fairness needs images of at least two groups.")
    counts = group_counts(tables, cells)
    observed = _spd(counts, cells.reference)
    null = _spd(permuted_counts(tables, cells, draws, seed), cells.reference)
    # Equal counts can differ in the last bit when they are summed in another order.
    beyond = int((null >= observed - 1e-9).sum())
    fairness = fairness_from_spd(null)
    return NoiseFloor(
        mean=float(fairness.mean()),
        sd=float(fairness.std()),
        low=float(np.quantile(fairness, 0.05)),
        p_value=(beyond + 1) / (draws + 1),
        spd=null,
    )


def _spd(counts: F64, reference: int) -> F64:
    """Mean SPD over models of counts [..., 1 + M, G]: totals first."""
    accuracy = share(
        counts[..., 1:, :], np.broadcast_to(counts[..., :1, :], counts[..., 1:, :].shape)
    )
    return np.asarray(spd(accuracy, reference).mean(-1), dtype=np.float64)


def _rows(tables: Sequence[Predictions], cells: Cells) -> tuple[npt.NDArray[np.bool_], I64, F64]:
    """Which rows have a group, its index, and [n, 1 + M] their weight and weight × correct.

    Weights have no unit. Here the largest is from 1 to 2, so that rounding suits them; a power of
    two keeps them exact.
    """
    group = tables[0].group
    rows = group >= 0
    weight = weights(tables[0])
    weight = np.ldexp(weight, 1 - int(np.frexp(weight.max())[1]))
    values = np.stack([weight, *(weight * table.correct for table in tables)], axis=1)[rows]
    return rows, np.searchsorted(cells.groups, group[rows]), values


def group_counts(tables: Sequence[Predictions], cells: Cells) -> F64:
    """[1 + M, G] total and correct weight of each group, in the unit of `permuted_counts`."""
    _, group, values = _rows(tables, cells)
    counts = np.zeros((values.shape[1], len(cells.groups)))
    np.add.at(counts.T, group, values)
    return counts


def permuted_counts(tables: Sequence[Predictions], cells: Cells, draws: int, seed: int = 0) -> F64:
    """[draws, 1 + M, G] total and correct weight of each group under permuted groups, in a unit."""
    rows, group, values = _rows(tables, cells)
    cluster = tables[0].cluster[rows]
    matched = np.asarray(tables[0].frame["matched_set"].notna(), dtype=np.bool_)[rows]
    rng = generator(seed, "permutations")
    sums = np.zeros((draws, values.shape[1], len(cells.groups)))
    if matched.any():
        sums += permute_blocks(cluster[matched], group[matched], values[matched], sums.shape, rng)
    if not matched.all():
        rest = ~matched
        sums += swap_clusters(cluster[rest], group[rest], values[rest], sums.shape, rng)
    return sums
