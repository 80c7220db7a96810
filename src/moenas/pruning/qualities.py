"""What pruning must keep: qualities on the search half, their intervals, and their limits."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Mapping

from moenas.errors import ConfigError, DataError, did_you_mean
from moenas.evaluation.statistics.noise_floor import noise_floor
from moenas.evaluation.statistics.resampling import Clusters
from moenas.evaluation.statistics.score_intervals import Interval, score_intervals
from moenas.metrics import METRICS
from moenas.predictions import Predictions

QUALITIES = ("balanced_accuracy", "fairness", "robustness", "worst_group_accuracy")
"""What can be held; ``overfitting`` is recorded beside them."""

KEEP_ABOVE = {"balanced_accuracy": 0.98, "fairness": 0.95, "robustness": 0.98}
"""Default thresholds, as shares of the unpruned model's values."""

DRAWS = 2000
"""Of the noise floor, as in `Scores`."""


def measure(predictions: Predictions) -> tuple[dict[str, float], dict[str, Interval]]:
    """Return qualities and overfitting of a model, and their intervals at 95 %.

    They equal those of `Scores`; the interval of ``fairness`` is that of the true fairness, without
    what noise takes from it. The worst group's accuracy has none: it is a minimum.

    Args:
        predictions: Of the splits ``val`` and ``search``.

    Returns:
        Values and intervals by name; what is not defined on the images is left out.
    """
    search, validation = predictions.split("search"), predictions.split("val")
    clusters, held = Clusters([search]), Clusters([validation])
    tally, held_tally = clusters.tallies()[0], held.tallies()[0]
    values: dict[str, float] = {}
    for name in (*QUALITIES, "overfitting"):
        function = METRICS[name].tally
        assert function is not None
        value = float(function(tally, held_tally))
        if not math.isnan(value):
            values[name] = value
    p_value = 1.0
    with contextlib.suppress(DataError):  # fewer than two groups
        p_value = noise_floor(search, DRAWS).p_value
    intervals = score_intervals(clusters, held, p_value, DRAWS)
    return values, {name: intervals[name] for name in values if name in intervals}


def thresholds(keep_above: Mapping[str, float] | None) -> dict[str, float]:
    """Return the thresholds asked for: those given, or `KEEP_ABOVE`.

    Raises:
        ConfigError: An unknown quality, or a share that is not within 0-1.
    """
    limits = dict(KEEP_ABOVE if keep_above is None else keep_above)
    for name, share in limits.items():
        if name not in QUALITIES:
            raise ConfigError(f"Pruning holds no '{name}'. {did_you_mean(name, QUALITIES)}")
        if not 0 <= share <= 1:
            raise ConfigError(
                f"The threshold of '{name}' is the share of its starting value that must remain, "
                f"from 0 to 1, not {share:g}. For 98 % give 0.98."
            )
    return limits


def held(keep_above: Mapping[str, float] | None, start: Mapping[str, float]) -> dict[str, float]:
    """Return the thresholds that can be held on these images.

    Args:
        keep_above: Thresholds asked for, or None for the default.
        start: The unpruned model's qualities.

    Raises:
        DataError: A threshold that was asked for is of a quality that these images do not show.
    """
    limits = thresholds(keep_above)
    missing = [name for name in limits if name not in start]
    if keep_above is not None and missing:
        raise DataError(
            f"'{missing[0]}' cannot be held: it is not defined on the search images. "
            "Fairness needs images of two groups at least, robustness poorly lit images with and "
            "without a person. Leave it out, or add such images."
        )
    return {name: share for name, share in limits.items() if name in start}


def broken(
    limits: Mapping[str, float], start: Mapping[str, float], now: Mapping[str, float]
) -> str | None:
    """Say which qualities fell below their thresholds, for people; None: all hold.

    A fairness may be negative: what may be lost is a share of its size.
    """
    fallen = [
        f"{name} would fall from {start[name]:.3f} to {now[name]:.3f}, below {keep:.0%} of it"
        for name, keep in limits.items()
        if now[name] < start[name] - (1 - keep) * abs(start[name])
    ]
    return ", ".join(fallen) or None
