"""What every audit finds of its models, whoever made the predictions; nothing is written here."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from moenas.config import to_dict
from moenas.evaluation.comparison import Comparison
from moenas.evaluation.judgement import judgement
from moenas.evaluation.scores import Scores, score
from moenas.evaluation.statistics import compare_answers
from moenas.evaluation.words import listed
from moenas.metrics.metric import METRICS
from moenas.predictions import Predictions
from moenas.report.audit.verdict import verdict

FAILED = "No training succeeded."


@dataclasses.dataclass(frozen=True)
class Candidate:
    """One model before it is judged.

    Attributes:
        model: Its name.
        predictions: What it said, a table a seed; none where every training failed.
        seeds: As many.
        failed: Why other seeds have none, by seed.
        parameters: Its size; None where nothing is known of it, like multiply-adds.
        macs: For one image.
        paper: Its name in the paper's Table I, None for others.
        scheme: What it was trained under.
        tried: Balanced accuracy on the search half by scheme, None where the training failed.
        folder: Of its first seed, below the run's.
    """

    model: str
    predictions: tuple[Predictions, ...]
    seeds: tuple[int, ...] = (0,)
    failed: Mapping[int, str] = dataclasses.field(default_factory=dict)
    parameters: int | None = None
    macs: int | None = None
    paper: str | None = None
    scheme: str | None = None
    tried: Mapping[str, float | None] = dataclasses.field(default_factory=dict)
    folder: str | None = None


@dataclasses.dataclass(frozen=True)
class Audited:
    """One model's result.

    Attributes:
        model: Its name.
        paper: Its name in the paper's Table I, None for others.
        scheme: The best one, None where all failed or nothing was trained here.
        scores: Of the report half, by the first seed; None where all trainings failed.
        judgement: What they mean; over all seeds.
        tried: Balanced accuracy on the search half by scheme, None where the training failed.
        seeds: Of its trainings.
        failed: What ended its other trainings, by seed; no number counts them.
    """

    model: str
    paper: str | None
    scheme: str | None
    scores: Scores | None
    judgement: tuple[str, ...]
    tried: dict[str, float | None]
    seeds: tuple[int, ...]
    failed: dict[int, str]

    def record(self) -> dict[str, Any]:
        """As JSON; the size of a model of which only the answers are known is null."""
        found = to_dict(self)
        for name in ("parameters", "macs"):
            if found["scores"] is not None:
                found["scores"][name] = found["scores"][name] or None
        return found


@dataclasses.dataclass(frozen=True)
class Judged:
    """What is known of an audit's models, ready to be written.

    Attributes:
        candidates: The models as they were given.
        models: What was found of each.
        leader: What the others are compared with.
        compared: What ``comparison.json`` says of the models that have predictions.
        halves: Their first seeds' predictions of the report half.
        answers: `compare_answers`, None where the leader is alone.
        verdict: Sentences, the most important first.
    """

    candidates: tuple[Candidate, ...]
    models: tuple[Audited, ...]
    leader: str
    compared: dict[str, dict[str, Any]]
    halves: dict[str, Predictions]
    answers: pd.DataFrame | None
    verdict: tuple[str, ...]


def judge(candidates: Sequence[Candidate], notes: Sequence[str] = ()) -> Judged:
    """Judge models on the report half.

    Args:
        candidates: The models; at least one has predictions.
        notes: What else must be known of these images; told after the verdict.

    Raises:
        DataError: The predictions are not of the same images.
    """
    there = {each.model: each for each in candidates if each.predictions}
    first = {name: each.predictions[0] for name, each in there.items()}
    leader, searched = leading(first)
    compared = compare_candidates(there, leader)
    scores = {
        name: score(
            table,
            split="report",
            parameters=there[name].parameters or 0,
            macs=there[name].macs or 0,
        )
        for name, table in first.items()
    }
    models = tuple(
        Audited(
            model=each.model,
            paper=each.paper,
            scheme=each.scheme,
            scores=scores.get(each.model),
            judgement=(
                *judgement(over_seeds(scores[each.model], compared[each.model])),
                *_of_failed_seeds(each),
            )
            if each.model in scores
            else (FAILED,),
            tried=dict(each.tried),
            seeds=each.seeds if each.predictions else (),
            failed=dict(each.failed),
        )
        for each in candidates
    )
    halves = {name: table.split("report") for name, table in first.items()}
    answers = compare_answers(halves, leader) if len(halves) > 1 else None
    alike = len({each.seeds for each in there.values()}) == 1
    trained = any(each.scheme for each in candidates)
    sentences = verdict(compared, answers, leader, trained=trained and alike, searched=searched)
    if not alike:
        sentences.append(_of_seeds(there))
    sentences += [*_of_weightless(halves[leader]), *notes]
    return Judged(tuple(candidates), models, leader, compared, halves, answers, tuple(sentences))


def _of_failed_seeds(candidate: Candidate) -> tuple[str, ...]:
    if not candidate.failed:
        return ()
    why = "; ".join(f"seed {seed}: {reason}" for seed, reason in candidate.failed.items())
    done, all_ = len(candidate.seeds), len(candidate.seeds) + len(candidate.failed)
    return (
        f"{done} of {all_} trainings with {candidate.scheme} succeeded, and the numbers are of "
        f"{'it' if done == 1 else 'these'} alone ({why.rstrip('.')}).",
    )


def _of_seeds(there: Mapping[str, Candidate]) -> str:
    """How often each model was trained, where that is not the same for all."""
    names: dict[int, list[str]] = {}
    for name, each in there.items():
        names.setdefault(len(each.seeds), []).append(name)
    told = [
        f"{listed(own)} {'once' if times == 1 else f'{times} times'}"
        for times, own in sorted(names.items(), reverse=True)
    ]
    failed = [
        f"{name} with {each.scheme}, seed {seed}"
        for name, each in there.items()
        for seed in each.failed
    ]
    return (
        f"Not all models were trained equally often, because trainings failed ({'; '.join(failed)})"
        f": {'; '.join(told)}. Intervals cover trainings, too, where there are several."
    )


def _of_weightless(half: Predictions) -> list[str]:
    """What groups are not spoken of, because none of their images weighs anything."""
    given = {int(group) for group in half.frame["group"].dropna()}
    lost = sorted(given - set(half.group.tolist()))
    if not lost:
        return []
    which = f"Group{'s' * (len(lost) > 1)} {listed([str(group) for group in lost])}"
    return [f"{which} {'is' if len(lost) == 1 else 'are'} left out: all their images weigh 0."]


def compare_candidates(there: Mapping[str, Candidate], leader: str) -> dict[str, dict[str, Any]]:
    """Return what ``comparison.json`` says of each model: means over seeds, groups, lights.

    Args:
        there: The models that have predictions.
        leader: What the others are compared with.
    """
    tables = {name: each.predictions for name, each in there.items()}
    return Comparison(tables).report(references=(leader,))


def leading(tables: Mapping[str, Predictions]) -> tuple[str, bool]:
    """The model that is best on the search half, and whether all have such images.

    Without, it is the first one. The others are compared with it, so it must not be chosen on the
    images of the comparison.
    """
    halves = {name: table.split("search") for name, table in tables.items()}
    if any(set(half.frame["label"]) != {0, 1} for half in halves.values()):
        return next(iter(tables)), False
    accuracy = METRICS["balanced_accuracy"].function
    return max(halves, key=lambda name: accuracy(halves[name])), True


def over_seeds(scores: Scores, record: Mapping[str, Any]) -> Scores:
    """The first seed's scores, with the means over all seeds where a judgement looks.

    Args:
        scores: Of the first seed.
        record: The model's part of ``comparison.json``.
    """
    if len(record["report"]["balanced_accuracy"]["values"]) == 1:
        return scores
    means = {name: entry["mean"] for name, entry in record["report"].items()}
    interval = record["report"]["balanced_accuracy"]
    changed: dict[str, Any] = {
        name: means[name]
        for name in ("balanced_accuracy", "fairness", "robustness", "overfitting")
        if name in means
    }
    groups = {entry["group"]: entry for entry in record["groups"]}
    if floor := record["noise_floor"]:
        worst = min(groups.values(), key=lambda entry: entry["mean"])
        changed |= {
            "fairness_p_value": floor["p_value"],
            "noise_floor_mean": floor["mean"],
            "worst_group": worst["group"],
            "worst_group_accuracy": worst["mean"],
        }
    return dataclasses.replace(
        scores,
        **changed,
        groups=tuple(
            dataclasses.replace(group, accuracy=groups[group.group]["mean"])
            for group in scores.groups
        ),
        intervals=scores.intervals | {"balanced_accuracy": (interval["low"], interval["high"])},
    )
