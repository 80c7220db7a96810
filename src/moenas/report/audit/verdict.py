"""The first sentences of an audit's report, written from its numbers alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from moenas.evaluation.judgement import able
from moenas.evaluation.records import is_unfair
from moenas.evaluation.statistics.answers import EVERYONE
from moenas.evaluation.words import listed
from moenas.report.measures import percent, span

NAMED = 4
"""So many models are named; of more, the number is told."""

Records = Mapping[str, Mapping[str, Any]]
"""What ``comparison.json`` says of each model."""


def verdict(
    compared: Records,
    answers: pd.DataFrame | None,
    leader: str,
    *,
    trained: bool,
    searched: bool = True,
) -> list[str]:
    """Say who is accurate, fair and robust, and how sure that is.

    Args:
        compared: The models that have numbers.
        answers: `compare_answers` with the leader; None where it is alone. It counts where each
            model was trained once; over several seeds it is ``versus`` in the records.
        leader: What the others are compared with.
        trained: Whether the audit trained the models, and with how many seeds can be told.
        searched: Whether the leader was the most accurate on the search half; else it was named
            first.
    """
    good = {name: record for name, record in compared.items() if able(record)}
    sentences = [_accuracy(compared, answers, leader, searched)]
    useless = [name for name in compared if name not in good]
    if useless:
        be, whose = ("is", "its") if len(useless) == 1 else ("are", "their")
        told = (
            f"{_names(useless)} {be} not shown to be better than guessing: {whose} fairness and "
            "robustness mean nothing."
        )
        # A comparison with models that know nothing is no news.
        sentences.insert(0 if leader in useless else 1, told)
    if good:
        alone = len(compared) == 1
        sentences += [*_fairness(good, alone), *_light(good, alone)]
    if trained:
        sentences.append(_seeds(compared))
    return sentences


def _accuracy(compared: Records, answers: pd.DataFrame | None, leader: str, searched: bool) -> str:
    found = compared[leader]["report"]["balanced_accuracy"]
    value = f"{percent(found['mean'])} % balanced accuracy ({span(found['low'], found['high'])})"
    if answers is None:
        return f"{leader} has {value} on the report half."
    outcomes = _outcomes(compared, answers, leader)
    worse, better = outcomes.count(False), outcomes.count(True)
    rest = len(outcomes) - worse - better
    parts = [f"{worse} {'is' if worse == 1 else 'are'} less accurate beyond chance"] * bool(worse)
    parts += [f"{better} {'is' if better == 1 else 'are'} more accurate"] * bool(better)
    parts += [f"{rest} cannot be told from it"] * bool(rest)
    first = (
        f"Of {len(compared)} models {leader} was the most accurate on the search half; on the "
        "report half it has"
        if searched
        else f"{len(compared)} models are compared with {leader}, which was named first; on the "
        "report half it has"
    )
    return f"{first} {value}. Of the others, {listed(parts)}."


def _outcomes(compared: Records, answers: pd.DataFrame, leader: str) -> list[bool | None]:
    """Whether each other model is more accurate, less, or cannot be told from the leader."""
    if len(compared[leader]["report"]["balanced_accuracy"]["values"]) > 1:
        others = (record for name, record in compared.items() if name != leader)
        return [record["versus"][leader]["balanced_accuracy"]["better"] for record in others]
    everyone = answers[answers["group"] == EVERYONE]
    return [None if value is None else bool(value) for value in everyone["better"]]


def _fairness(good: Records, alone: bool) -> list[str]:
    known = [name for name, record in good.items() if record["noise_floor"]]
    if not known:
        return ["Nothing is known of fairness: the images have fewer than two skin tones."]
    unfair = [name for name in known if is_unfair(good[name])]
    unfair.sort(key=lambda name: good[name]["report"]["fairness"]["mean"])
    spread = [_spread(good[name]) for name in known]
    gaps = (
        f"Between a model's best and worst tone lie {percent(min(spread))} to "
        f"{percent(max(spread))} points."
    )
    only = known[0]
    if len(known) == 1:
        whose = "its" if alone else f"{only}'s"
        gaps = f"Between {whose} best and worst tone lie {percent(spread[0])} points."
    if not unfair:
        return [
            f"No unfairness can be told from chance here, which is no proof of fairness. {gaps}"
        ]
    which = "It treats" if alone else f"{only} treats"
    if len(known) > 1:
        which = (
            f"{_names(unfair)} ({len(unfair)} of {len(known)}) "
            f"{'treats' if len(unfair) == 1 else 'treat'}"
        )
    return [f"{which} skin tones unequally beyond chance. {gaps}"]


def _spread(record: Mapping[str, Any]) -> float:
    values: list[float] = [g["mean"] for g in record["groups"] if g["mean"] is not None]
    return max(values) - min(values)


def _light(good: Records, alone: bool) -> list[str]:
    lost = {
        name: record["report"]["balanced_accuracy"]["mean"] - record["report"]["robustness"]["mean"]
        for name, record in good.items()
        if "robustness" in record["report"]
    }
    if not lost:
        return ["Nothing is known of poor light: no image with and without a person has any."]
    most = max(lost, key=lambda name: lost[name])
    if lost[most] <= 0:
        return ["In poor light no model's accuracy was lower than in all."]
    if len(lost) == 1:
        who = "it" if alone else most
        return [f"In poor light {who} loses {percent(lost[most])} points of balanced accuracy."]
    return [
        f"In poor light the models lose {percent(min(lost.values()))} to "
        f"{percent(lost[most])} points of balanced accuracy, {most} the most."
    ]


def _seeds(compared: Records) -> str:
    seeds = len(next(iter(compared.values()))["report"]["balanced_accuracy"]["values"])
    if seeds == 1:
        return (
            "Each model was trained once: what is said here holds for these trained models, and "
            "another training of the same model may differ by points (--seeds 3 tells)."
        )
    return f"Each model was trained {seeds} times; intervals cover trainings and images."


def _names(names: Sequence[str]) -> str:
    if len(names) > NAMED:
        return f"{', '.join(names[:NAMED])} and {len(names) - NAMED} more"
    return listed(names)
