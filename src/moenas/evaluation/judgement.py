"""What the scores of one model mean, in sentences: useless, unfair, or not shown to be either."""

from __future__ import annotations

from moenas.evaluation.comparison import LEVEL
from moenas.evaluation.scores import Scores

GUESSING = 0.5
"""Balanced accuracy of a model that knows nothing."""


def judgement(scores: Scores) -> tuple[str, ...]:
    """Return sentences about a model, the most important first.

    A constant answer is perfectly fair, robust and general by definition, and a bad model has
    little to be unfair with: such models are named before their fairness is spoken of.

    Args:
        scores: Of one split.
    """
    if {scores.tpr, scores.tnr} == {0.0, 1.0}:
        answer = "a person" if scores.tpr else "nobody"
        return (
            f"It sees {answer} in every image. Such a model is fair, robust and general by "
            "definition, and of no use.",
        )
    low, _ = scores.intervals.get("balanced_accuracy", (scores.balanced_accuracy, 1.0))
    if low <= GUESSING:
        return (
            f"It is not shown to be better than guessing (balanced accuracy "
            f"{scores.balanced_accuracy:.1%}, 95 % interval from {low:.1%}): its fairness and "
            "robustness mean nothing.",
        )
    return (*_fairness(scores), *_light(scores), *_few(scores))


def _fairness(scores: Scores) -> tuple[str, ...]:
    p, fairness, fair = scores.fairness_p_value, scores.fairness, scores.noise_floor_mean
    if p is None or fairness is None or fair is None:
        return ("Nothing is known of its fairness: the images have fewer than two groups.",)
    worst = ""
    best = max((group.accuracy for group in scores.groups), default=0.0)
    if scores.worst_group_accuracy is not None and scores.worst_group_accuracy < best:
        worst = f" Group {scores.worst_group} fares worst, at {scores.worst_group_accuracy:.1%}."
    if p < LEVEL:
        return (
            f"It is unfair beyond chance: fairness {fairness:.1%}, where a perfectly fair model "
            f"has {fair:.1%} on average on these images (p {_p(p)}).{worst}",
        )
    proof = "That is no proof of fairness."
    if scores.detectable_gap is not None and scores.detectable_gap < 0.995:
        proof = (
            f"That is no proof of fairness: a gap of {100 * scores.detectable_gap:.0f} points "
            "between the lightest and the darkest group would be found in four of five tries."
        )
    elif scores.detectable_gap is not None:
        proof = "That is no proof of fairness: these images are too few to find any gap."
    return (
        f"No unfairness can be shown: fairness {fairness:.1%}, and a perfectly fair model has "
        f"{fair:.1%} on average on these images (p {_p(p)}). {proof}{worst}",
    )


def _light(scores: Scores) -> tuple[str, ...]:
    if scores.robustness is None:
        return ("Nothing is known of poor light: no image with and without a person has any.",)
    lost = scores.balanced_accuracy - scores.robustness
    if lost <= 0:
        return (f"In poor light it does as well as in all ({scores.robustness:.1%}).",)
    return (
        f"In poor light it has {scores.robustness:.1%} balanced accuracy, {100 * lost:.1f} points "
        "less than in all.",
    )


def _few(scores: Scores) -> tuple[str, ...]:
    few = [str(group.group) for group in scores.groups if group.too_few]
    if not few:
        return ()
    return (f"Too few images to say much of group {', '.join(few)}.",)


def _p(value: float) -> str:
    return "< .001" if value < 0.001 else f"= {value:.3f}"
