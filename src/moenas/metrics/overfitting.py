"""Overfitting: validation accuracy minus test accuracy, both balanced (PAPER row 7)."""

from __future__ import annotations

import numpy as np

from moenas.errors import DataError
from moenas.metrics.accuracy import balanced_accuracy_of
from moenas.metrics.metric import METRICS, Metric
from moenas.metrics.tally import F64, Tally
from moenas.predictions import Predictions


def overfitting_of(test: Tally, validation: Tally | None) -> F64:
    """[...] −1–1; NaN without validation images."""
    value = balanced_accuracy_of(test)
    if validation is None:
        return np.full_like(value, np.nan)
    return balanced_accuracy_of(validation) - value


def generalisation_of(test: Tally, validation: Tally | None) -> F64:
    """[...] −abs(overfitting), 0 at best: the objective of the search."""
    return -np.abs(overfitting_of(test, validation))


def overfitting(predictions: Predictions) -> float:
    """Balanced accuracy on split ``val`` minus that on the one other split of the table.

    Raises:
        DataError: There is no ``val`` split, no or more than one other, or one without images
            of both labels.
    """
    others = sorted(set(predictions.frame["split"].dropna()) - {"val", "train"})
    if len(others) != 1:
        raise DataError(
            "'overfitting' compares split 'val' with one test split, but the predictions have "
            f"{others or 'none'}. Keep 'val' and one other split."
        )
    validation, test = predictions.split("val"), predictions.split(others[0])
    if len(validation) == 0:
        raise DataError("'overfitting' needs predictions of split 'val'; there are none.")
    value = float(overfitting_of(Tally.of(test), Tally.of(validation)))
    if np.isnan(value):
        raise DataError(
            "'overfitting' is not defined on these predictions: both splits need images with and "
            "images without a person."
        )
    return value


def generalisation(predictions: Predictions) -> float:
    """−abs(`overfitting`), 0 at best; raises as it does."""
    return -abs(overfitting(predictions))


METRICS.add("overfitting", Metric("overfitting", overfitting, "zero", overfitting_of))
METRICS.add("generalisation", Metric("generalisation", generalisation, "max", generalisation_of))
