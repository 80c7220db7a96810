"""What is known of one model, in sentences: useless, unfair, or not shown to be either."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from moenas.evaluation.comparison import LEVEL
from moenas.evaluation.scores import Scores

GUESSING = 0.5
"""Balanced accuracy of a model that knows nothing."""


@dataclasses.dataclass(frozen=True)
class Evidence:
    """What a judgement rests on; fractions 0–1, means over seeds where there are several.

    Attributes:
        recalls: (share of people found, share of empty scenes left alone), one pair a seed.
        accuracy: Balanced.
        low: Lower end of its interval.
        robustness: Balanced accuracy in poor light, None where it is undefined.
        fairness: None with fewer than two groups, like the next two.
        fair: Mean fairness of a perfectly fair model.
        p: How often such a model is as unfair as this one; corrected for the number of models
            where there are several.
        models: How many models that is corrected for.
        groups: Accuracy by group.
        few: Groups of too few images.
        detectable: The smallest gap between lightest and darkest group that would be found.
    """

    recalls: tuple[tuple[float, float], ...]
    accuracy: float
    low: float
    robustness: float | None
    fairness: float | None
    fair: float | None
    p: float | None
    models: int
    groups: Mapping[int, float]
    few: tuple[int, ...]
    detectable: float | None

    @classmethod
    def of_scores(cls, scores: Scores) -> Evidence:
        """Of one model on one split."""
        low, _ = scores.intervals.get("balanced_accuracy", (scores.balanced_accuracy, 1.0))
        return cls(
            recalls=((scores.tpr, scores.tnr),),
            accuracy=scores.balanced_accuracy,
            low=low,
            robustness=scores.robustness,
            fairness=scores.fairness,
            fair=scores.noise_floor_mean,
            p=scores.fairness_p_value,
            models=1,
            groups={group.group: group.accuracy for group in scores.groups},
            few=tuple(group.group for group in scores.groups if group.too_few),
            detectable=scores.detectable_gap,
        )

    @classmethod
    def of_record(cls, record: Mapping[str, Any], models: int) -> Evidence:
        """Of one of several models, by its part of ``comparison.json``.

        Args:
            record: See `records`; with ``detectable_gap``.
            models: How many have a noise floor.
        """
        report, floor = record["report"], record["noise_floor"] or {}
        means = {name: entry["mean"] for name, entry in report.items()}
        return cls(
            recalls=tuple(zip(report["tpr"]["values"], report["tnr"]["values"], strict=True)),
            accuracy=means["balanced_accuracy"],
            low=report["balanced_accuracy"]["low"],
            robustness=means.get("robustness"),
            fairness=means.get("fairness"),
            fair=floor.get("mean"),
            p=floor.get("p_holm"),
            models=models,
            groups={g["group"]: g["mean"] for g in record["groups"] if g["mean"] is not None},
            few=tuple(g["group"] for g in record["groups"] if g["too_few"]),
            detectable=record["detectable_gap"],
        )


def judgement(scores: Scores) -> tuple[str, ...]:
    """Return sentences about a model, the most important first; see `sentences`.

    Args:
        scores: Of one split.
    """
    return sentences(Evidence.of_scores(scores))


def able(record: Mapping[str, Any]) -> bool:
    """Whether a model is shown to be better than guessing, by its part of ``comparison.json``."""
    return bool(record["report"]["balanced_accuracy"]["low"] > GUESSING)


def sentences(found: Evidence) -> tuple[str, ...]:
    """Return sentences about a model, the most important first.

    A constant answer is perfectly fair, robust and general by definition, and a bad model has
    little to be unfair with: such models are named before their fairness is spoken of.

    Args:
        found: What is known of it.
    """
    answers = {tpr if {tpr, tnr} == {0.0, 1.0} else None for tpr, tnr in found.recalls}
    if None not in answers and len(answers) == 1:
        answer = "a person" if answers.pop() else "nobody"
        return (
            f"It sees {answer} in every image. Such a model is fair, robust and general by "
            "definition, and of no use.",
        )
    if found.low <= GUESSING:
        return (
            f"It is not shown to be better than guessing (balanced accuracy "
            f"{found.accuracy:.1%}, 95 % interval from {found.low:.1%}): its fairness and "
            "robustness mean nothing.",
        )
    return (*_fairness(found), *_light(found), *_few(found))


def _fairness(found: Evidence) -> tuple[str, ...]:
    if found.p is None or found.fairness is None or found.fair is None:
        return ("Nothing is known of its fairness: the images have fewer than two groups.",)
    group, lowest = min(found.groups.items(), key=lambda item: item[1])
    worst = ""
    if lowest < max(found.groups.values()):
        worst = f" Group {group} fares worst, at {lowest:.1%}."
    chance = f"(p {_p(found.p)}{_corrected(found.models)})"
    if found.p < LEVEL:
        return (
            f"It is unfair beyond chance: fairness {found.fairness:.1%}, where a perfectly fair "
            f"model has {found.fair:.1%} on average on these images {chance}.{worst}",
        )
    proof = "That is no proof of fairness."
    if found.detectable is not None and found.detectable < 0.995:
        once = "" if len(found.recalls) == 1 else " of one training"
        proof = (
            f"That is no proof of fairness: a gap{once} of {100 * found.detectable:.0f} points "
            "between the lightest and the darkest group would be found in four of five tries"
            f"{' where no other model was looked at' if found.models > 1 else ''}."
        )
    elif found.detectable is not None:
        proof = "That is no proof of fairness: these images are too few to find any gap."
    return (
        f"No unfairness can be shown: fairness {found.fairness:.1%}, and a perfectly fair model "
        f"has {found.fair:.1%} on average on these images {chance}. {proof}{worst}",
    )


def _corrected(models: int) -> str:
    return "" if models == 1 else f", corrected for {models} models"


def _light(found: Evidence) -> tuple[str, ...]:
    if found.robustness is None:
        return ("Nothing is known of poor light: no image with and without a person has any.",)
    lost = found.accuracy - found.robustness
    if lost <= 0:
        return (f"In poor light it does as well as in all ({found.robustness:.1%}).",)
    return (
        f"In poor light it has {found.robustness:.1%} balanced accuracy, {100 * lost:.1f} points "
        "less than in all.",
    )


def _few(found: Evidence) -> tuple[str, ...]:
    if not found.few:
        return ()
    return (f"Too few images to say much of group {', '.join(map(str, found.few))}.",)


def _p(value: float) -> str:
    return "< .001" if value < 0.001 else f"= {value:.3f}"
