"""How a model's scores fall as its images get worse: one corruption, five severities.

All severities see the same images with the same noise, scaled, so that drops are paired: an image
that is hard in any light adds nothing to their intervals.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch
from torch import nn

from moenas.data.cache import ImageStore
from moenas.data.corruptions import CORRUPTIONS, SEVERITIES, corrupt
from moenas.data.manifest import Manifest
from moenas.errors import DataError
from moenas.evaluation.predict import predict
from moenas.evaluation.statistics.gaps import group_worth
from moenas.evaluation.statistics.intervals import t_interval
from moenas.evaluation.statistics.resampling import Clusters
from moenas.evaluation.statistics.score_intervals import label_worth
from moenas.evaluation.statistics.shares import Shares, cluster_shares, combination
from moenas.metrics.fairness import fairness_from_spd, spd_of
from moenas.metrics.tally import F64
from moenas.predictions import Predictions

COLUMNS = ("severity", "score", "group", "n", "value", "low", "high", "drop", "drop_low",
           "drop_high")  # fmt: skip


def predict_severities(
    model: nn.Module,
    manifest: Manifest,
    images: ImageStore,
    *,
    corruption: str = "low_light",
    splits: tuple[str, ...] | None = None,
    threshold: float = 0.5,
    device: torch.device | None = None,
    seed: int = 0,
    severities: Sequence[int] = (0, *SEVERITIES),
    check: Callable[[], None] | None = None,
) -> dict[int, Predictions]:
    """Return what a model says at severities, of which 0 is the images as they are.

    Images of a matched set (a scene in ten skin tones) get the same noise.

    Args:
        model: Classifier of two classes.
        manifest: Describes the images, row by row.
        images: Row i is the manifest's row i.
        corruption: One of `moenas.data.corruptions.CORRUPTIONS`.
        splits: The splits to predict; all by default.
        threshold: From which probability on a person is seen, at all severities.
        device: Where to compute.
        seed: Of the corruption.
        severities: Which of 0 to 5; what is said at one does not depend on the others.
        check: Called before each batch; what it raises, at a time limit, ends this.

    Raises:
        ConfigError: There is no such corruption.
        DataError: There are not as many images as rows.
    """
    CORRUPTIONS[corruption]  # an unknown name is told before the clean images are predicted
    keys = manifest.frame["matched_set"].fillna(manifest.frame["image_id"]).to_numpy(dtype=object)

    def at(severity: int) -> Predictions:
        def alter(batch: torch.Tensor, rows: npt.NDArray[np.integer]) -> torch.Tensor:
            return corrupt(batch, corruption, severity, [str(key) for key in keys[rows]], seed)

        return predict(
            model,
            manifest,
            images,
            splits=splits,
            threshold=threshold,
            device=device,
            alter=alter if severity else None,
            check=check,
        )

    return {severity: at(severity) for severity in severities}


def degradation(severities: Mapping[int, Predictions], split: str = "report") -> pd.DataFrame:
    """Scores at each severity and their drops from severity 0, for all images and each group.

    Args:
        severities: Predictions at severity 0 and others, of the same images
            (`predict_severities`, or a device's own).
        split: The split to score.

    Returns:
        Rows ``severity, score, group, n, value, low, high, drop, drop_low, drop_high``: scores are
        ``balanced_accuracy`` and ``fairness`` of all (group null) and each group's ``accuracy``;
        undefined ones are left out. ``drop`` is severity 0's value minus this one's. Intervals
        cover 95 % and respect clusters; drops' are paired; fairness has one of its drop alone.

    Raises:
        DataError: Severity 0 is missing, the split has no image, or the images differ.
    """
    if 0 not in severities:
        raise DataError("Drops need the predictions of severity 0, the images as they are.")
    rows: list[tuple[object, ...]] = []
    clean = severities[0].split(split)
    if len(clean) == 0:
        raise DataError(f"The predictions have no image of split '{split}'.")
    for severity in sorted(severities):
        pair = Clusters([clean, severities[severity].split(split)])
        rows += [(severity, *row) for row in _balanced(pair)]
        rows += [(severity, *row) for row in _fairness(pair)]
        rows += [(severity, *row) for row in _groups(pair)]
    return pd.DataFrame(rows, columns=COLUMNS).astype({"group": "Int16"})


Row = tuple[str, int | None, int, float, float, float, float, float, float]


def _balanced(pair: Clusters) -> list[Row]:
    total, before = (part.sum(-1) for part in pair.by_light(0))
    shares = _paired(pair, total, before, pair.by_light(1)[1].sum(-1), label_worth(pair))
    value, drop = [0, 0, 0.5, 0.5], [0.5, 0.5, -0.5, -0.5]
    return _row("balanced_accuracy", None, len(pair.tables[0]), shares, value, drop)


def _groups(pair: Clusters) -> list[Row]:
    total, before = pair.by_group(0)
    shares = _paired(pair, total, before, pair.by_group(1)[1], group_worth(pair))
    members = pair.tables[0].group
    count = len(pair.cells.groups)
    rows: list[Row] = []
    for place, group in enumerate(pair.cells.groups):
        value, drop = np.zeros(2 * count), np.zeros(2 * count)
        value[count + place] = 1
        drop[[place, count + place]] = 1, -1
        n = int((members == group).sum())
        rows += _row("accuracy", group, n, shares, list(value), list(drop))
    return rows


def _fairness(pair: Clusters) -> list[Row]:
    if len(pair.cells.groups) < 2:
        return []
    before, after = (float(fairness_from_spd(spd_of(tally))) for tally in pair.tallies())
    variance, degrees = pair.jackknife(
        lambda tallies: fairness_from_spd(spd_of(tallies[0]) - spd_of(tallies[1]))
    )
    bounds = (np.nan, np.nan)
    if degrees > 0:
        bounds = t_interval(before - after, variance, degrees)
    n = int((pair.tables[0].group >= 0).sum())
    return [("fairness", None, n, after, np.nan, np.nan, before - after, *bounds)]


def _paired(pair: Clusters, total: F64, before: F64, after: F64, size: F64 | None) -> Shares:
    """Shares [2 S] of both models; all [P, S], the number of images they are worth [S]."""
    both = np.hstack([total, total]), np.hstack([before, after])
    return cluster_shares(pair.number, *both, None if size is None else np.tile(size, 2))


def _row(
    score: str, group: int | None, n: int, shares: Shares, value: list[float], drop: list[float]
) -> list[Row]:
    own, fall = (combination([factors], [shares]) for factors in (value, drop))
    if own is None or fall is None:
        return []
    known = np.nan_to_num(shares.value)
    return [(score, group, n, float(known @ value), *own, float(known @ drop), *fall)]
