"""Equal opportunity (Hardt et al. 2016) and what chance makes of it.

The spread of the groups' recalls, highest minus lowest, is never 0 on real images. Permuting the
groups of the persons tells how large it is for a model that sees persons of all groups alike.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from moenas.errors import DataError
from moenas.evaluation.statistics.noise_floor import group_counts, permuted_counts
from moenas.metrics.tally import F64, Cells, share
from moenas.predictions import Predictions


@dataclasses.dataclass(frozen=True)
class Opportunity:
    """Spread of the groups' recalls (0–1), measured and for a fair model.

    ``mean`` and ``high`` (95 % quantile) describe a fair model on these images; ``p_value`` is how
    often its spread is as large as the measured one.
    """

    spread: float
    mean: float
    high: float
    p_value: float


def equal_opportunity_floor(
    predictions: Predictions, draws: int = 10_000, seed: int = 0
) -> Opportunity:
    """Permutation test of equal opportunity.

    Args:
        predictions: One split.
        draws: Number of permutations.
        seed: Of the permutations.

    Raises:
        DataError: Fewer than two groups have persons.
    """
    persons = predictions.take(predictions.label)
    cells = Cells.of(persons) if len(persons) else None
    if cells is None or len(cells.groups) < 2:
        raise DataError("Equal opportunity needs persons of at least two groups.")
    observed = float(_spread(group_counts([persons], cells)))
    null = _spread(permuted_counts([persons], cells, draws, seed))
    return Opportunity(
        spread=observed,
        mean=float(null.mean()),
        high=float(np.quantile(null, 0.95)),
        p_value=(int((null >= observed - 1e-9).sum()) + 1) / (draws + 1),
    )


def _spread(counts: F64) -> F64:
    """Highest minus lowest share over groups of counts [..., 2, G]: totals, then successes."""
    recall = share(counts[..., 1, :], counts[..., 0, :])
    return np.asarray(np.nanmax(recall, axis=-1) - np.nanmin(recall, axis=-1), dtype=np.float64)
