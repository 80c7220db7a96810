"""From which probability on it is a person."""

from __future__ import annotations

import numpy as np
import pandas as pd

from moenas.errors import DataError
from moenas.metrics.tally import weights
from moenas.predictions import Predictions

ROUNDING = 1e-6
"""What another machine, or batch, may make of a probability in float32."""


def missing_label(frame: pd.DataFrame) -> str | None:
    """Which images a table has none of, of any weight: ``with`` or ``without`` a person, or None.

    Args:
        frame: With columns ``label`` and ``weight``.
    """
    labels = set(frame.loc[frame["weight"] > 0, "label"])
    missing = (what for label, what in ((1, "with"), (0, "without")) if label not in labels)
    return next(missing, None)


def settable(predictions_val: Predictions) -> bool:
    """Whether there are images of both labels, of some weight."""
    return missing_label(predictions_val.frame) is None


def best_threshold(predictions_val: Predictions) -> float:
    """The threshold with the highest balanced accuracy on these predictions.

    Candidates lie halfway between neighbouring probabilities that differ by more than `ROUNDING`;
    of equals, the nearest to 0.5. Without any it is 0.5: the model says the same of every image.

    Raises:
        DataError: There are not images of both labels, or those of one all weigh 0.
    """
    label, weight = predictions_val.label, weights(predictions_val)
    if not settable(predictions_val):
        raise DataError(
            "The threshold is set on images with and images without a person; split 'val' has "
            "only one of them, or none of any weight."
        )
    probability = predictions_val.frame["probability"].to_numpy(dtype="float64")
    values, place = np.unique(probability, return_inverse=True)
    apart = np.diff(values) > ROUNDING
    if not apart.any():
        return 0.5
    seen = np.bincount(place, weight * label, len(values))
    empty = np.bincount(place, weight * ~label, len(values))
    tpr = seen[::-1].cumsum()[::-1][1:] / seen.sum()
    tnr = empty.cumsum()[:-1] / empty.sum()
    middle = (values[:-1] + values[1:]) / 2
    quality = np.where(apart, (tpr + tnr).round(12), -np.inf)
    best = np.flatnonzero(quality == quality.max())
    return float(middle[best[np.argmin(np.abs(middle[best] - 0.5))]])
