"""Pure functions of a predictions table."""

from moenas.metrics import accuracy, fairness, overfitting, robustness
from moenas.metrics.fairness import skin_fairness
from moenas.metrics.metric import METRICS, Metric

__all__ = [
    "METRICS",
    "Metric",
    "accuracy",
    "fairness",
    "overfitting",
    "robustness",
    "skin_fairness",
]
