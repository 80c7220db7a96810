"""The scores of one trained model on one split: what the search, the report and users read."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pandas as pd

from moenas import config
from moenas.errors import DataError
from moenas.evaluation.statistics.detectable import detectable_gap
from moenas.evaluation.statistics.gaps import debiased_spd, gaps, group_shares
from moenas.evaluation.statistics.intervals import TOO_FEW
from moenas.evaluation.statistics.noise_floor import noise_floor
from moenas.evaluation.statistics.opportunity import equal_opportunity_floor
from moenas.evaluation.statistics.resampling import Clusters
from moenas.evaluation.statistics.score_intervals import (
    Interval,
    balanced_interval,
    score_intervals,
)
from moenas.evaluation.threshold import missing_label
from moenas.metrics.accuracy import balanced_accuracy_of
from moenas.metrics.fairness import fairness_from_spd, group_table
from moenas.metrics.metric import METRICS
from moenas.metrics.robustness import light_table
from moenas.metrics.tally import F64
from moenas.predictions import Predictions
from moenas.serialisation import write_json

OBJECTIVES = ("balanced_accuracy", "fairness", "robustness", "generalisation")
"""What the search maximises."""


SHOWN = (
    "balanced_accuracy",
    "fairness",
    "fairness_debiased",
    "robustness",
    "overfitting",
    "worst_group_accuracy",
    "gap_lightest_darkest",
)
"""What screens and trackers show of a model."""


@dataclasses.dataclass(frozen=True)
class GroupScore:
    """One group: images, accuracy with its interval, recall and false alarms (None: undefined)."""

    group: int
    n: int
    accuracy: float
    tpr: float | None
    fpr: float | None
    low: float
    high: float
    too_few: bool


@dataclasses.dataclass(frozen=True)
class LightScore:
    """One class of light: images, balanced accuracy with its interval, recall, specificity."""

    lighting: str
    n: int
    balanced_accuracy: float | None
    tpr: float | None
    tnr: float | None
    low: float | None
    high: float | None


@dataclasses.dataclass(frozen=True)
class Scores:
    """Scores of a model on a split; fractions 0–1, None where undefined.

    ``fairness`` and ``fairness_sum`` are the paper's score by the mean and by the sum over groups
    (1 = fair, may be negative); ``spd_mean`` and ``spd_sum`` what they are made of.
    ``fairness_debiased`` estimates the true fairness (at most 1), ``intervals["fairness"]`` is the
    interval of that. ``noise_floor_*`` describe a perfectly fair model's fairness on these images,
    and ``fairness_p_value`` says how often it would be as unfair as this one. Accuracies of
    validation and of poor light are balanced. All intervals cover 95 % and respect clusters.
    ``equal_opportunity_floor`` is a fair model's mean spread of recalls. ``detectable_gap`` is the
    gap of lightest and darkest group that this split would have shown with 80 % power.
    """

    split: str
    n: int
    threshold: float
    accuracy: float
    balanced_accuracy: float
    tpr: float
    tnr: float
    groups: tuple[GroupScore, ...]
    lights: tuple[LightScore, ...]
    minority_group: int | None
    spd_mean: float | None
    spd_sum: float | None
    fairness: float | None
    fairness_sum: float | None
    gap_lightest_darkest: float | None
    worst_group: int | None
    worst_group_accuracy: float | None
    equal_opportunity: float | None
    fairness_debiased: float | None
    noise_floor_mean: float | None
    noise_floor_sd: float | None
    noise_floor_low: float | None
    fairness_p_value: float | None
    robustness: float | None
    validation_accuracy: float | None
    overfitting: float | None
    parameters: int
    macs: int
    intervals: dict[str, Interval]
    equal_opportunity_floor: float | None = None
    equal_opportunity_p_value: float | None = None
    detectable_gap: float | None = None

    @property
    def generalisation(self) -> float | None:
        """−abs(overfitting)."""
        return None if self.overfitting is None else -abs(self.overfitting)

    @property
    def objectives(self) -> dict[str, float]:
        """The values of `OBJECTIVES`, all to be maximised.

        Raises:
            DataError: One is undefined: the split lacks groups, poor light, or validation.
        """
        values = {name: getattr(self, name) for name in OBJECTIVES}
        missing = [name for name, value in values.items() if value is None]
        if missing:
            raise DataError(
                f"The objectives {', '.join(missing)} are not defined on split '{self.split}': "
                "fairness needs images of two groups, robustness poorly lit images with and "
                "without a person, generalisation predictions of split 'val'."
            )
        return values

    def interval_of(self, name: str) -> Interval | None:
        """Return a score's interval; that of the true fairness is the debiased fairness's."""
        key = {"fairness": "", "fairness_debiased": "fairness"}.get(name, name)
        return self.intervals.get(key)

    def to_frame(self) -> pd.DataFrame:
        """One row per number: ``score, value, low, high`` (NaN where there is none)."""
        rows: list[tuple[str, float, float, float]] = []
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if isinstance(value, int | float) and not isinstance(value, bool):
                low, high = self.interval_of(field.name) or (np.nan, np.nan)
                rows.append((field.name, float(value), low, high))
        rows += [(f"group {g.group}", g.accuracy, g.low, g.high) for g in self.groups]
        for light in self.lights:
            value, low, high = (
                np.nan if number is None else number
                for number in (light.balanced_accuracy, light.low, light.high)
            )
            rows.append((f"light {light.lighting}", value, low, high))
        return pd.DataFrame(rows, columns=["score", "value", "low", "high"])

    def save(self, path: Path | str) -> None:
        """Write as JSON, atomically; `config.from_dict` reads it back."""
        write_json(Path(path), config.to_dict(self))


def score(
    predictions: Predictions,
    *,
    split: str,
    parameters: int,
    macs: int,
    draws: int = 2000,
    seed: int = 0,
) -> Scores:
    """Score a model on a split.

    Args:
        predictions: All splits; ``val`` is what overfitting is measured against.
        split: The split to score.
        parameters: Of the model.
        macs: Of the model, per image.
        draws: Permutations of the noise floor, and draws of the fairness interval.
        seed: Of both.

    Raises:
        DataError: The split has no images, or none of one label.
    """
    test, validation = predictions.split(split), predictions.split("val")
    if len(test) == 0:
        known = ", ".join(sorted(set(predictions.frame["split"].dropna()))) or "none"
        raise DataError(f"The predictions have no split '{split}'. They have: {known}.")
    if what := missing_label(test.frame):
        raise DataError(
            f"Split '{split}' has no image {what} a person, or none of any weight, so balanced "
            "accuracy is not defined: a model that always says the same would be perfect. Add "
            "such images."
        )
    clusters = Clusters([test])
    held = Clusters([validation]) if (validation.frame["weight"] > 0).any() else None
    tally = clusters.tallies()[0]
    held_tally = held.tallies()[0] if held else None

    def value(name: str) -> float | None:
        function = METRICS[name].tally
        assert function is not None
        return _number(function(tally, held_tally))

    def certain(name: str) -> float:
        result = value(name)
        assert result is not None
        return result

    floor = debiased = detectable = None
    if len(clusters.cells.groups) >= 2:
        floor = noise_floor(test, draws, seed)
        detectable = detectable_gap(clusters, floor, draws=draws, seed=seed).trend
        debiased = min(1.0, float(fairness_from_spd(debiased_spd(gaps(clusters)))))
    opportunity = None
    if value("equal_opportunity") is not None:
        opportunity = equal_opportunity_floor(test, draws, seed)
    groups = _groups(test, clusters)
    worst = min(groups, key=lambda group: group.accuracy) if floor else None
    reference = clusters.cells.reference
    return Scores(
        split=split,
        n=len(test),
        threshold=predictions.threshold,
        accuracy=certain("accuracy"),
        balanced_accuracy=certain("balanced_accuracy"),
        tpr=certain("tpr"),
        tnr=certain("tnr"),
        groups=groups,
        lights=_lights(test, clusters),
        minority_group=None if reference is None else clusters.cells.groups[reference],
        spd_mean=value("spd_mean"),
        spd_sum=value("spd_sum"),
        fairness=value("fairness"),
        fairness_sum=value("fairness_sum"),
        gap_lightest_darkest=value("gap_lightest_darkest"),
        worst_group=worst.group if worst else None,
        worst_group_accuracy=value("worst_group_accuracy"),
        equal_opportunity=value("equal_opportunity"),
        fairness_debiased=debiased,
        noise_floor_mean=floor.mean if floor else None,
        noise_floor_sd=floor.sd if floor else None,
        noise_floor_low=floor.low if floor else None,
        fairness_p_value=floor.p_value if floor else None,
        robustness=value("robustness"),
        validation_accuracy=None
        if held_tally is None
        else _number(balanced_accuracy_of(held_tally)),
        overfitting=value("overfitting"),
        parameters=parameters,
        macs=macs,
        intervals=score_intervals(clusters, held, floor.p_value if floor else 1.0, draws, seed),
        equal_opportunity_floor=opportunity.mean if opportunity else None,
        equal_opportunity_p_value=opportunity.p_value if opportunity else None,
        detectable_gap=detectable,
    )


def _number(value: F64 | float) -> float | None:
    """A plain float; None for NaN."""
    return None if np.isnan(value) else float(value)


def _groups(test: Predictions, clusters: Clusters) -> tuple[GroupScore, ...]:
    if not clusters.cells.groups:
        return ()
    shares = group_shares(clusters)
    rows = group_table(test).itertuples(index=False)
    return tuple(
        GroupScore(
            group=int(row.group),
            n=int(row.n),
            accuracy=float(row.accuracy),
            tpr=_number(row.tpr),
            fpr=_number(row.fpr),
            low=float(low),
            high=float(high),
            too_few=bool((high - low) / 2 > TOO_FEW),
        )
        for row, low, high in zip(rows, shares.low, shares.high, strict=True)
    )


def _lights(test: Predictions, clusters: Clusters) -> tuple[LightScore, ...]:
    scores = []
    for row in light_table(test).itertuples(index=False):
        bounds = balanced_interval(clusters, (row.lighting,))
        scores.append(
            LightScore(
                lighting=row.lighting,
                n=int(row.n),
                balanced_accuracy=_number(row.balanced_accuracy),
                tpr=_number(row.tpr),
                tnr=_number(row.tnr),
                low=bounds[0] if bounds else None,
                high=bounds[1] if bounds else None,
            )
        )
    return tuple(scores)
