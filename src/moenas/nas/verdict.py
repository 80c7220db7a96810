"""The verdict: the first sentences of a report, written from the comparison's numbers alone."""

from __future__ import annotations

from typing import Any

from moenas.evaluation.records import is_unfair
from moenas.evaluation.words import listed

TITLES = {
    "balanced_accuracy": "accuracy",
    "fairness": "skin fairness",
    "robustness": "robustness to light",
    "overfitting": "overfitting",
}


def verdict(models: list[dict[str, Any]], groups_known: bool) -> list[str]:
    """Say in plain words whether a finalist is better than the base model, for whom, how surely.

    Args:
        models: The ``models`` of ``comparison.json``.
        groups_known: Whether the data tell groups apart.

    Returns:
        Sentences, the most important first. Differences count as real where p < 0.05 after Holm's
        correction over models and objectives.
    """
    by_role = {role: [m for m in models if m["role"] == role] for role in ("base", "wider")}
    finalists = [m for m in models if m["role"] == "finalist"]
    if not finalists:
        return [
            "The search found no architecture that keeps the base model's accuracy within the "
            "limits: there is nothing to report but the base model."
        ]
    base = by_role["base"][0]
    sentences = [_against(finalists, base["name"], "base", "the base model it started from")]
    if by_role["wider"]:
        wider = by_role["wider"][0]
        size = f"{wider['parameters'] / 1e6:.2f}M"
        title = f"the wider dense model ({wider['name']}, {size})"
        sentences.append(_against(finalists, wider["name"], "wider", title))
    if groups_known:
        sentences += _fairness(base, [*by_role["wider"], *finalists])
    constant = [m["name"] for m in models if _is_constant(m)]
    for name in constant:
        sentences.append(
            f"{name} says the same for nearly every image: it is fair and robust by definition, "
            "and useless."
        )
    return sentences


def _against(finalists: list[dict[str, Any]], name: str, role: str, title: str) -> str:
    wins: list[str] = []
    losses: list[str] = []
    for model in finalists:
        for metric, entry in model["versus"].get(role, {}).items():
            if metric not in TITLES or entry["better"] is None:
                continue
            text = (
                f"{model['name']} in {TITLES[metric]} by "
                f"{100 * abs(entry['difference']):.1f} points "
                f"(95 % interval {_interval(entry)}, p {_p(entry['p_holm'])} "
                "after Holm's correction)"
            )
            (wins if entry["better"] else losses).append(text)
    if wins and losses:
        return f"Mixed against {title}: better are {listed(wins)}; worse are {listed(losses)}."
    if wins:
        return f"Better than {title}: {listed(wins)}; in nothing else is a difference certain."
    if losses:
        return f"Worse than {title}: {listed(losses)}; no finalist is better in anything."
    closest = max(
        (
            (abs(e["difference"]), m["name"], metric, e)
            for m in finalists
            for metric, e in m["versus"].get(role, {}).items()
            if metric in TITLES and e["difference"] is not None
        ),
        default=None,
        key=lambda item: item[0],
    )
    if closest is None:
        return f"No finalist could be compared with {title}."
    _, model_name, metric, entry = closest
    return (
        f"No finalist differs from {title} beyond what seeds and images explain. The largest "
        f"difference is {100 * entry['difference']:+.1f} points in {TITLES[metric]} "
        f"({model_name}, 95 % interval {_interval(entry)})."
    )


def _fairness(base: dict[str, Any], others: list[dict[str, Any]]) -> list[str]:
    floor = base["noise_floor"]
    if floor is None:
        return []
    measured = base["report"]["fairness"]["mean"]
    real = is_unfair(base)
    sentence = (
        f"The base model treats groups {'unequally' if real else 'alike as far as can be told'}: "
        f"its fairness is {100 * measured:.1f}, a perfectly fair model would have "
        f"{100 * floor['mean']:.1f} on these images (p {_p(floor['p_holm'])})."
    )
    unfair = [m["name"] for m in others if is_unfair(m)]
    if unfair:
        names = listed(unfair) if len(unfair) < len(others) else "all others"
        sentence += (
            f" The same holds for {names}."
            if real
            else f" A difference between groups does show in {names}."
        )
    return [sentence]


def _is_constant(model: dict[str, Any]) -> bool:
    return not 0.02 < model["person_share"] < 0.98


def _interval(entry: dict[str, Any]) -> str:
    if entry["low"] is None:
        return "unknown: one seed" if entry["p_holm"] is None else "unknown: nothing varies"
    return f"{100 * entry['low']:+.1f} to {100 * entry['high']:+.1f}"


def _p(value: float | None) -> str:
    if value is None:
        return "unknown"
    return "< 0.001" if value < 0.001 else f"= {value:.3f}"
