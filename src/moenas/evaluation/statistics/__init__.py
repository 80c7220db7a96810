"""How sure the scores are: intervals, noise floor, tests. All on counts, all vectorised."""

from moenas.evaluation.statistics.answers import compare_answers
from moenas.evaluation.statistics.detectable import DetectableGap, detectable_gap
from moenas.evaluation.statistics.gaps import debiased_fairness, debiased_spd, fairness_interval
from moenas.evaluation.statistics.intersections import intersections
from moenas.evaluation.statistics.intervals import wilson
from moenas.evaluation.statistics.noise_floor import NoiseFloor, noise_floor
from moenas.evaluation.statistics.opportunity import Opportunity, equal_opportunity_floor
from moenas.evaluation.statistics.paired import (
    clustered_mcnemar,
    holm,
    mcnemar,
    mcnemar_test,
    minimum_detectable_gap,
)
from moenas.evaluation.statistics.resampling import Clusters

__all__ = [
    "Clusters",
    "DetectableGap",
    "NoiseFloor",
    "Opportunity",
    "clustered_mcnemar",
    "compare_answers",
    "debiased_fairness",
    "debiased_spd",
    "detectable_gap",
    "equal_opportunity_floor",
    "fairness_interval",
    "holm",
    "intersections",
    "mcnemar",
    "mcnemar_test",
    "minimum_detectable_gap",
    "noise_floor",
    "wilson",
]
