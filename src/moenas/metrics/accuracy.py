"""Accuracy: plain, balanced, and on images with and without a person."""

from __future__ import annotations

import numpy as np

from moenas.metrics.metric import METRICS, Metric
from moenas.metrics.tally import F64, Tally, share

BOTH = "images with and images without a person"


def accuracy_of(tally: Tally) -> F64:
    """[...] share of right answers, 0–1."""
    return share(tally.correct.sum((-3, -2, -1)), tally.total.sum((-3, -2, -1)))


def balanced_accuracy_of(tally: Tally) -> F64:
    """[...] mean of `tpr_of` and `tnr_of`, 0–1: a constant model has 0.5 (PAPER row 3)."""
    return np.asarray(tally.by_label().mean(-1), dtype=np.float64)


def tpr_of(tally: Tally) -> F64:
    """[...] share of persons that are seen (recall), 0–1."""
    return tally.by_label()[..., 1]


def tnr_of(tally: Tally) -> F64:
    """[...] share of images without a person that are taken for such, 0–1."""
    return tally.by_label()[..., 0]


for _metric in (
    Metric.of_tally("accuracy", "max", accuracy_of, "an image"),
    Metric.of_tally("balanced_accuracy", "max", balanced_accuracy_of, BOTH),
    Metric.of_tally("tpr", "max", tpr_of, "images with a person"),
    Metric.of_tally("tnr", "max", tnr_of, "images without a person"),
):
    METRICS.add(_metric.name, _metric)

accuracy = METRICS["accuracy"].function
balanced_accuracy = METRICS["balanced_accuracy"].function
tpr = METRICS["tpr"].function
tnr = METRICS["tnr"].function
