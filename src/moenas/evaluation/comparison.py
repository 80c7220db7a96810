"""Models with several seeds: means with intervals, and comparisons on the same images."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import numpy as np

from moenas.errors import ConfigError, DataError
from moenas.evaluation.estimates import ANY, LIMITS, Difference, Estimate
from moenas.evaluation.statistics.gaps import contrasts, debiased_spd, gaps, group_shares
from moenas.evaluation.statistics.intervals import TOO_FEW, satterthwaite
from moenas.evaluation.statistics.noise_floor import noise_floor
from moenas.evaluation.statistics.resampling import Clusters
from moenas.evaluation.statistics.score_intervals import (
    Interval,
    balanced_interval,
    label_shares,
)
from moenas.evaluation.statistics.seeds import Seeds, difference_chance, mean_chance
from moenas.evaluation.statistics.shares import combination
from moenas.metrics.accuracy import balanced_accuracy_of
from moenas.metrics.fairness import fairness_from_spd
from moenas.metrics.metric import METRICS, Direction, TallyFunction
from moenas.metrics.robustness import lit_images
from moenas.metrics.tally import F64, Tally
from moenas.predictions import POOR_LIGHT, Predictions

TESTED = ("balanced_accuracy", "fairness", "robustness", "overfitting")
"""The metrics that models are judged by: one family of tests per reference model (Holm)."""

DESCRIBED = ("fairness_debiased", "fairness_sum", "worst_group_accuracy", "gap_lightest_darkest")
"""Reported beside them: a family of their own."""

RECALLS = ("tpr", "tnr")
"""Reported without a test: the two halves of balanced accuracy."""

LEVEL = 0.05
"""Below, an adjusted p-value makes a difference count."""


class Comparison:
    """Models on the same images, one or more seeds each.

    Args:
        models: Predictions of each seed, by model; seeds in the same order for all. They hold the
            split and, for overfitting, ``val``.
        split: The split that counts.
        draws: Bootstrap draws of the clusters, the same for all models.
        seed: Of the draws.

    Raises:
        DataError: A model has no predictions, or they are not of the same images.
    """

    def __init__(
        self,
        models: Mapping[str, Sequence[Predictions]],
        *,
        split: str = "report",
        draws: int = 2000,
        seed: int = 0,
    ) -> None:
        self._rows: dict[str, list[int]] = {}
        tables: list[Predictions] = []
        names: list[str] = []
        for name, own in models.items():
            if not own:
                raise DataError(f"Model '{name}' has no predictions to compare.")
            self._rows[name] = list(range(len(tables), len(tables) + len(own)))
            tables += own
            several = len(own) > 1
            names += [f"of '{name}'" + f" (training {n + 1})" * several for n in range(len(own))]
        self._draw_count, self._seed = draws, seed
        tests = [table.split(split) for table in tables]
        held = [table.split("val") for table in tables]
        if any(len(test) == 0 for test in tests):
            raise DataError(f"Some predictions have no image of split '{split}'.")
        self._test = Clusters(tests, names)
        self._test_seen = self._test.tallies()
        self._test_draws = self._test.resample(draws, seed)
        self._held: Clusters | None = None
        self._held_seen: list[Tally] | None = None
        self._held_draws: list[Tally] | None = None
        if all((table.frame["weight"] > 0).any() for table in held):
            self._held = Clusters(held, names)
            self._held_seen = self._held.tallies()
            self._held_draws = self._held.resample(draws, seed + 1)
        self._found: dict[tuple[str, str], Seeds] = {}
        self._degrees: dict[str, float] = {}

    def estimate(self, model: str, metric: str) -> Estimate | None:
        """Mean of a metric over a model's seeds; None where it is undefined on these images.

        Of a spread (fairness and its kin) the interval says where the *measured* score would fall
        with other seeds and images; `fairness_debiased` and the noise floor speak of the truth.
        Shares of right answers have the interval of `score_intervals`, widened over several seeds
        by what these differ: one that is all right is not known for sure.

        Raises:
            ConfigError: There is no such model or metric, or it has no vectorised form.
        """
        found = self._estimate(self._seeds(model, metric), self._shares(model, metric))
        return None if found is None else found.within(*LIMITS.get(metric, ANY))

    def difference(self, first: str, second: str, metric: str) -> Difference | None:
        """First minus second model in a metric; None where it is undefined on these images.

        Noise lowers a fair model's measured fairness more than an unfair one's, so differences of
        ``fairness`` understate those of the truth; equally fair models are told apart in 3–6 %.

        Raises:
            ConfigError: There is no such model or metric, or it has no vectorised form.
        """
        one, two = self._seeds(first, metric), self._seeds(second, metric)
        if one is None or two is None:
            return None
        value = one.mean - two.mean
        chance = difference_chance(one, two)
        if chance is None:
            return Difference(value, None, None, None)
        low, high = chance.interval(value) or (None, None)
        return Difference(value, low, high, chance.p_value(value))

    def groups(self, model: str) -> list[dict[str, Any]]:
        """Accuracy of each group: ``group, n, mean, low, high, too_few``."""
        group = self._test.tables[0].group
        shares = group_shares(self._test, *self._of(model)) if self._test.cells.groups else None
        rows = []
        for place, name in enumerate(self._test.cells.groups):

            def accuracy(test: Tally, _held: Tally | None, place: int = place) -> F64:
                return test.by_group()[0][..., place]

            assert shares is not None
            bounds = float(shares.low[place]), float(shares.high[place])
            found = self._share(model, f"group {name}", accuracy, bounds)
            low, high = found["low"], found["high"]
            few = low is None or high is None or (high - low) / 2 > TOO_FEW
            n = int((group == name).sum())
            rows.append({"group": name, "n": n, **found, "too_few": few})
        return rows

    def lights(self, model: str) -> list[dict[str, Any]]:
        """Balanced accuracy of each class of light: ``lighting, n, mean, low, high``."""
        counts = lit_images(self._test.tables[0])
        rows = []
        for name in self._test.cells.lights:

            def accuracy(test: Tally, _held: Tally | None, name: str = name) -> F64:
                return balanced_accuracy_of(test.in_lights([name]))

            bounds = balanced_interval(self._test, [name], self._of(model))
            found = self._share(model, f"light {name}", accuracy, bounds)
            rows.append({"lighting": name, "n": int(counts[name]), **found})
        return rows

    @property
    def models(self) -> tuple[str, ...]:
        """Their names."""
        return tuple(self._rows)

    def noise_floor(self, model: str) -> dict[str, float] | None:
        """Fairness of a perfectly fair model, mean over as many seeds: ``mean, sd, low, p_value``.

        None with fewer than two groups.
        """
        if len(self._test.cells.groups) < 2:
            return None
        own = [self._test.tables[row] for row in self._of(model)]
        floor = noise_floor(own, self._draw_count, self._seed)
        return {"mean": floor.mean, "sd": floor.sd, "low": floor.low, "p_value": floor.p_value}

    def better(self, first: str, second: str, metric: str) -> bool | None:
        """Whether the first model's mean is the better one, if they differ beyond chance.

        Nearer to zero, abs(a) < abs(b), means that a − b and a + b have opposite signs: both have
        to be sure. None where they are not, or the metric is undefined.
        """
        one, two = self._seeds(first, metric), self._seeds(second, metric)
        if one is None or two is None:
            return None
        direction = _direction(metric)
        if direction == "zero":
            mirrored = Seeds(-two.values, -two.draws, two.degrees)
            chance = difference_chance(one, mirrored)
            if chance is None or chance.p_value(one.mean + two.mean) >= LEVEL:
                return None
            return abs(one.mean) < abs(two.mean)
        return one.mean > two.mean if direction == "max" else one.mean < two.mean

    def _of(self, model: str) -> list[int]:
        if model not in self._rows:
            raise ConfigError(f"There is no model '{model}' here: {', '.join(self._rows)}.")
        return self._rows[model]

    def _seeds(self, model: str, metric: str) -> Seeds | None:
        rows = self._of(model)
        if metric == "fairness_debiased":
            return self._debiased(model, rows)
        function = METRICS[metric].tally
        if function is None:
            raise ConfigError(f"The metric '{metric}' has no vectorised form to compare with.")
        return self._measure(model, metric, function)

    def _measure(self, model: str, name: str, function: TallyFunction) -> Seeds | None:
        key = model, name
        if key not in self._found:
            rows = self._of(model)
            values = np.array([float(function(*self._observed(row))) for row in rows])
            if np.isnan(values).any():
                return None
            drawn = np.stack([function(*self._drawn(row)) for row in rows])
            # A small group can be missing from a draw; its metric then has fewer draws.
            drawn = drawn[:, np.isfinite(drawn).all(0)]
            self._found[key] = Seeds(values, drawn, self._freedom(name, function))
        return self._found[key]

    def _debiased(self, model: str, rows: Sequence[int]) -> Seeds | None:
        if len(self._test.cells.groups) < 2:
            return None
        measured = [gaps(self._test, row) for row in rows]
        values = [float(fairness_from_spd(debiased_spd(gap))) for gap in measured]
        contrast = contrasts(self._test).T
        drawn = []
        for gap, row in zip(measured, rows, strict=True):
            again = self._test_draws[row].by_group()[0] @ contrast
            drawn.append(fairness_from_spd(debiased_spd(dataclasses.replace(gap, gap=again))))
        draws = np.stack(drawn)
        draws = draws[:, np.isfinite(draws).all(0)]
        fairness = self._seeds(model, "fairness")
        assert fairness is not None
        return Seeds(np.array(values), draws, fairness.degrees)

    def _observed(self, row: int) -> tuple[Tally, Tally | None]:
        return self._test_seen[row], None if self._held_seen is None else self._held_seen[row]

    def _drawn(self, row: int) -> tuple[Tally, Tally | None]:
        return self._test_draws[row], None if self._held_draws is None else self._held_draws[row]

    def _freedom(self, name: str, function: Callable[..., F64]) -> float:
        """Degrees of freedom of a metric's variance over images; of the first model, for all."""
        if name not in self._degrees:
            test, held = self._observed(0)
            first = Clusters([self._test.tables[0]])
            parts = [first.jackknife(lambda tallies: function(tallies[0], held))]
            if self._held is not None:
                other = Clusters([self._held.tables[0]])
                parts.append(other.jackknife(lambda tallies: function(test, tallies[0])))
            known = [(v, df) for v, df in parts if df > 0]
            self._degrees[name] = satterthwaite(*zip(*known, strict=True)) if known else 1.0
        return self._degrees[name]

    def _estimate(self, seeds: Seeds | None, shares: Interval | None) -> Estimate | None:
        if seeds is None:
            return None
        low, high = mean_chance(seeds).interval(seeds.mean) or (seeds.mean, seeds.mean)
        if shares is not None and len(seeds.values) == 1:
            low, high = shares
        elif shares is not None:
            low, high = min(low, shares[0]), max(high, shares[1])
        return Estimate(seeds.mean, low, high, tuple(float(value) for value in seeds.values))

    def _shares(self, model: str, metric: str) -> Interval | None:
        """Interval over images of a metric that is made of shares; None of others."""
        rows = self._of(model)
        if metric == "balanced_accuracy":
            return balanced_interval(self._test, None, rows)
        if metric == "robustness":
            return balanced_interval(self._test, POOR_LIGHT, rows)
        if metric in RECALLS:
            of_label = [[0.0, 1.0]] if metric == "tpr" else [[1.0, 0.0]]
            return combination(of_label, [label_shares(self._test, None, rows)])
        return None

    def _share(
        self, model: str, name: str, function: TallyFunction, shares: Interval | None
    ) -> dict[str, float | None]:
        found = self._estimate(self._measure(model, name, function), shares)
        if found is None:
            return {"mean": None, "low": None, "high": None}
        found = found.within(0.0, 1.0)
        return {"mean": found.mean, "low": found.low, "high": found.high}


def compare(
    a: Sequence[Predictions],
    b: Sequence[Predictions],
    metric: str,
    *,
    split: str = "report",
    draws: int = 2000,
    seed: int = 0,
) -> Difference:
    """Model A minus model B in a metric, over their seeds and on the same images.

    Args:
        a: Predictions of each seed of A.
        b: Of B, paired with A's where there are as many.
        metric: Name of a metric with a vectorised form, or ``fairness_debiased``.
        split: The split that counts.
        draws: Bootstrap draws of the clusters.
        seed: Of the draws.

    Raises:
        DataError: The images differ, or the metric is undefined on them.
        ConfigError: There is no such metric.
    """
    found = Comparison({"a": a, "b": b}, split=split, draws=draws, seed=seed)
    return _defined(found.difference("a", "b", metric), metric, split)


def mean_interval(
    tables: Sequence[Predictions],
    metric: str,
    *,
    split: str = "report",
    draws: int = 2000,
    seed: int = 0,
) -> Estimate:
    """Mean of a metric over a model's seeds; arguments and errors as in `compare`."""
    found = Comparison({"model": tables}, split=split, draws=draws, seed=seed)
    return _defined(found.estimate("model", metric), metric, split)


T = TypeVar("T")


def _defined(value: T | None, metric: str, split: str) -> T:
    if value is None:
        raise DataError(f"'{metric}' is not defined on the images of split '{split}'.")
    return value


def _direction(metric: str) -> Direction:
    return "max" if metric == "fairness_debiased" else METRICS[metric].direction
