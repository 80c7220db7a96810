"""How sure the scores are: intervals, noise floor, tests. All on counts, all vectorised."""

from moenas.evaluation.statistics.gaps import debiased_fairness, debiased_spd, fairness_interval
from moenas.evaluation.statistics.intervals import wilson
from moenas.evaluation.statistics.noise_floor import NoiseFloor, noise_floor
from moenas.evaluation.statistics.paired import (
    holm,
    mcnemar,
    mcnemar_test,
    minimum_detectable_gap,
)
from moenas.evaluation.statistics.resampling import Clusters

__all__ = [
    "Clusters",
    "NoiseFloor",
    "debiased_fairness",
    "debiased_spd",
    "fairness_interval",
    "holm",
    "mcnemar",
    "mcnemar_test",
    "minimum_detectable_gap",
    "noise_floor",
    "wilson",
]
