"""Robustness to light: how well the model does where light is poor (PAPER rows 3 and 6)."""

from __future__ import annotations

import numpy as np
import pandas as pd

from moenas.metrics.accuracy import balanced_accuracy_of
from moenas.metrics.metric import METRICS, Metric
from moenas.metrics.tally import F64, Tally
from moenas.predictions import Predictions


def robustness_of(tally: Tally) -> F64:
    """[...] balanced accuracy over underexposed and dimly lit images together, 0–1."""
    return balanced_accuracy_of(tally.poorly_lit())


robustness = METRICS.add(
    "robustness",
    Metric.of_tally(
        "robustness",
        "max",
        robustness_of,
        "poorly lit (underexposed or dimly_lit) images with and without a person",
    ),
).function


def lit_images(predictions: Predictions) -> pd.Series:
    """Number of images of any weight by class of light."""
    frame = predictions.frame
    return frame.loc[frame["weight"] > 0, "lighting"].value_counts()


def light_table(predictions: Predictions) -> pd.DataFrame:
    """One row per class of light: ``lighting, n, balanced_accuracy, tpr, tnr`` (NaN: undefined).

    Raises:
        DataError: There is no image.
    """
    tally = Tally.of(predictions)
    counts = lit_images(predictions)
    rows = []
    for light in tally.cells.lights:
        tnr, tpr = tally.in_lights([light]).by_label()
        rows.append((light, int(counts[light]), float(np.mean([tnr, tpr])), float(tpr), float(tnr)))
    return pd.DataFrame(rows, columns=["lighting", "n", "balanced_accuracy", "tpr", "tnr"])
