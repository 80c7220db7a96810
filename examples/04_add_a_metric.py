"""Add a metric: one function of counts, and it has intervals and comparisons as well.

The metric is precision: of the images where the model sees a person, how many have one.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from moenas import Predictions
from moenas.evaluation.comparison import compare, mean_interval
from moenas.metrics import METRICS, Metric
from moenas.metrics.tally import F64, Tally, share


def precision_of(tally: Tally) -> F64:
    """[...] true persons among those that were seen, 0-1.

    A tally counts images by label, light and group, ``[..., 2, lights, groups]``. Leading axes are
    resampled data sets, so keep them.
    """
    total, correct = tally.total.sum((-2, -1)), tally.correct.sum((-2, -1))
    hits = correct[..., 1]
    false_alarms = total[..., 0] - correct[..., 0]
    return share(hits, hits + false_alarms)


METRICS.add(
    "precision",
    Metric.of_tally("precision", "max", precision_of, needs="an image where a person is seen"),
)


def device(seed: int, false_alarms: float) -> Predictions:
    """Make up what a model says about the same 1,000 images."""
    labels = np.random.default_rng(0).integers(0, 2, 1000)
    draw = np.random.default_rng(seed).random(1000)
    says = np.where(labels == 1, draw < 0.9, draw < false_alarms)
    names = [f"img{i}" for i in range(1000)]
    return Predictions(pd.DataFrame({"image_id": names, "label": labels, "prediction": says}))


calm = [device(seed, 0.05) for seed in (1, 2, 3)]  # three trainings of each model
jumpy = [device(seed, 0.10) for seed in (4, 5, 6)]

print(f"precision of one table: {METRICS['precision'].function(calm[0]):.3f}")
estimate = mean_interval(calm, "precision")
print(f"mean of three seeds: {estimate.mean:.3f}, 95 % interval {estimate.low:.3f} to", end=" ")
print(f"{estimate.high:.3f}")
found = compare(calm, jumpy, "precision")
print(f"calm minus jumpy: {found.difference:+.3f} ({found.low:+.3f} to {found.high:+.3f}),", end="")
print(f" p = {found.p:.4f}")
