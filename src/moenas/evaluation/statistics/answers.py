"""Models against each other, image by image: McNemar's test for all images and for each group."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy import stats

from moenas.errors import ConfigError, DataError, did_you_mean
from moenas.evaluation.statistics.paired import clustered_mcnemar, holm
from moenas.evaluation.statistics.resampling import aligned
from moenas.evaluation.statistics.shares import cluster_shares, combination, worth
from moenas.metrics.tally import F64, weights
from moenas.predictions import Predictions

EVERYONE = "all"
"""Name of the row that counts all images."""

COLUMNS = (
    "model", "reference", "group", "n", "clusters", "only_model", "only_reference", "difference",
    "low", "high", "detectable", "p", "p_holm", "better",
)  # fmt: skip


def compare_answers(
    models: Mapping[str, Predictions],
    reference: str | None = None,
    *,
    by: str = "group",
    level: float = 0.05,
    power: float = 0.8,
) -> pd.DataFrame:
    """McNemar's test of models on the same images, Holm-corrected over models and groups.

    One training a model: what another seed would do is not in these numbers (see
    `moenas.evaluation.comparison.Comparison`). Clusters are respected.

    Args:
        models: Predictions of one split, by model.
        reference: The model that the others are compared with; None: all pairs.
        by: Column whose values get a row each, beside the row `EVERYONE`.
        level: Of the whole family of tests.
        power: How probably ``detectable`` would have been found.

    Returns:
        One row per pair of models and group: ``model, reference, group`` (text), ``n`` images,
        ``clusters``; images that ``only_model`` or ``only_reference`` gets right; ``difference`` of
        accuracies, of everyone's balanced ones, with its interval ``low, high`` (95 %);
        ``detectable``, the true difference that
        a single test of these images would probably find (NaN: the models never differ); ``p``,
        ``p_holm`` and ``better``: True, False, or None where the difference may be chance.

    Raises:
        ConfigError: There is no model named like the reference.
        DataError: There are fewer than two models, they are not of the same images or of none, or
            the column does not exist.
    """
    if len(models) < 2:
        raise DataError(f"{len(models)} models: a comparison needs two.")
    if reference is not None and reference not in models:
        raise ConfigError(
            f"There is no model '{reference}' here. {did_you_mean(reference, models)}"
        )
    names = list(models)
    tables = aligned(list(models.values()), [f"of '{name}'" for name in names])
    if not len(tables[0]):
        raise DataError("The predictions hold no image: check the name of the split.")
    right = {name: table.correct for name, table in zip(names, tables, strict=True)}
    pairs: Sequence[tuple[str, str]] = [
        (name, str(reference)) for name in names if name != reference
    ]
    if reference is None:
        pairs = list(itertools.combinations(names, 2))
    image, _ = pd.factorize(tables[0].frame["image_id"])
    rows = []
    for group, mask in _parts(tables[0], by):
        weight = weights(tables[0])[mask]
        if group == EVERYONE:
            weight = _balanced(weight, tables[0].label[mask])
        _, code = np.unique(tables[0].cluster[mask], return_inverse=True)
        total, *sums = (
            np.asarray(np.bincount(code, part), dtype=np.float64)
            for part in (weight, *(weight * right[name][mask] for name in names))
        )
        correct = dict(zip(names, sums, strict=True))
        size = worth(image[mask], weight, np.ones(len(weight), dtype=np.bool_))
        for one, two in pairs:
            first, second = right[one][mask], right[two][mask]
            entry = {
                "model": one,
                "reference": two,
                "group": group,
                "n": int(mask.sum()),
                "clusters": len(total),
                "only_model": int((first & ~second).sum()),
                "only_reference": int((second & ~first).sum()),
            }
            found = _difference(total, correct[one], correct[two], size, level, power)
            rows.append(entry | found)
    frame = pd.DataFrame(rows)
    frame["p_holm"] = holm(list(frame["p"]))
    sure = frame["p_holm"] < level
    frame["better"] = (frame["difference"] > 0).astype(object).where(sure, None)
    return frame[list(COLUMNS)]


def _parts(table: Predictions, by: str) -> list[tuple[str, np.ndarray]]:
    """Name and rows of everyone and of each value of a column; rows of no weight are left out."""
    if by not in table.frame:
        raise DataError(
            f"The predictions have no column '{by}' to compare by. "
            f"They have: {', '.join(table.frame.columns)}."
        )
    used = weights(table) > 0
    column = table.frame[by]
    values = sorted(column[used].dropna().unique())
    own = [(str(v), used & column.eq(v).fillna(False).to_numpy(dtype=np.bool_)) for v in values]
    return [(EVERYONE, used), *own]


def _balanced(weight: F64, person: npt.NDArray[np.bool_]) -> F64:
    """Let images with and without a person count equally, by factors as small as can be."""
    one, other = float(weight[person].sum()), float(weight[~person].sum())
    if not one or not other:
        return weight
    shared = float(math.gcd(int(one), int(other))) if (one + other).is_integer() else one
    return weight * np.where(person, other, one) / shared


def _difference(
    total: F64, first: F64, second: F64, size: F64, level: float, power: float
) -> dict[str, float]:
    """Difference of two models on clusters' weights [K] of images and of right answers.

    ``size`` [1]: number of images that the weights are worth.
    """
    number = np.ones(len(total), dtype=np.int64)
    shares = cluster_shares(
        number,
        np.stack([total, total], axis=1),
        np.stack([first, second], axis=1),
        np.repeat(size, 2),
    )
    bounds = combination([[1.0, -1.0]], [shares])
    assert bounds is not None
    contrast = np.array([1.0, -1.0])
    error = float(np.sqrt(max(0.0, contrast @ shares.covariance @ contrast)))
    reach = float(stats.norm.isf(level / 2) + stats.norm.isf(1 - power))
    return {
        "difference": float(shares.value[0] - shares.value[1]),
        "low": bounds[0],
        "high": bounds[1],
        "detectable": reach * error if error > 0 else float("nan"),
        "p": clustered_mcnemar(first - second),
    }
