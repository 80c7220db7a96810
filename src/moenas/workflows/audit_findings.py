"""What an audit finds: from predictions alone, so that it can be found again (`moenas verify`)."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from moenas.errors import DataError
from moenas.evaluation.comparison import Comparison
from moenas.evaluation.judgement import Evidence, sentences
from moenas.evaluation.records import records
from moenas.evaluation.scores import Scores, score
from moenas.evaluation.statistics import (
    Clusters,
    compare_answers,
    detectable_gap,
    intersections,
)
from moenas.metrics.metric import METRICS
from moenas.metrics.votes import sensitivity_table
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
        report: Its measures on the report half: metric → mean over seeds, low, high, values by
            seed; empty where all trainings failed.
        scores: All of them, of the first seed alone; None where all trainings failed.
        judgement: What they mean; over all seeds.
        tried: Balanced accuracy on the search half by scheme, None where the training failed.
        seeds: Of its trainings.
    """

    model: str
    paper: str | None
    scheme: str | None
    report: dict[str, Any]
    scores: Scores | None
    judgement: tuple[str, ...]
    tried: dict[str, float | None]
    seeds: tuple[int, ...]


@dataclasses.dataclass(frozen=True)
class Findings:
    """What an audit says of its models; tables of one model or without labels are None.

    Attributes:
        compared: The entries of ``comparison.json``.
        leader: What the others are compared with.
        searched: Whether it is the most accurate on the search half; else it was named first.
        models: In the order in which they were named.
        verdict: The first sentences.
        answers: `compare_answers` with the leader, of the first seeds, like the next two.
        intersections: Tone × light, with ``model``.
        sensitivity: To the labels of tones, with ``model``.
    """

    compared: list[dict[str, Any]]
    leader: str
    searched: bool
    models: tuple[Audited, ...]
    verdict: tuple[str, ...]
    answers: pd.DataFrame | None
    intersections: pd.DataFrame | None
    sensitivity: pd.DataFrame | None


def find(candidates: Sequence[Candidate]) -> Findings:
    """Judge models on the report half.

    Args:
        candidates: The models; at least one has predictions.

    Raises:
        DataError: No model has predictions, or they are not of the same images.
    """
    there = {each.model: each for each in candidates if each.predictions}
    if not there:
        raise DataError("No model of the audit has predictions.")
    first = {name: each.predictions[0] for name, each in there.items()}
    halves = {name: table.split("report") for name, table in first.items()}
    leader, searched = leading(first)
    found = records(
        Comparison({name: each.predictions for name, each in there.items()}), references=(leader,)
    )
    for name, record in found.items():
        record["detectable_gap"] = _detectable(there[name].predictions)
    floors = sum(record["noise_floor"] is not None for record in found.values())
    answers = compare_answers(halves, leader) if len(halves) > 1 else None
    trained = any(each.scheme for each in candidates)
    some = next(iter(halves.values())).frame
    grouped = bool(some["group"].notna().any())
    lit = bool(some["lighting"].notna().any())
    return Findings(
        compared=[
            {
                "name": name,
                "role": "audited",
                "architecture": name,
                "seeds": list(there[name].seeds),
                "parameters": there[name].parameters,
                "macs": there[name].macs,
                **record,
            }
            for name, record in found.items()
        ],
        leader=leader,
        searched=searched,
        models=tuple(_audited(each, found.get(each.model), floors) for each in candidates),
        verdict=tuple(verdict(found, answers, leader, trained=trained, searched=searched)),
        answers=answers,
        intersections=_stacked({n: intersections(table) for n, table in halves.items()})
        if grouped and lit
        else None,
        sensitivity=_stacked({n: sensitivity_table(table) for n, table in halves.items()})
        if grouped
        else None,
    )


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


def _audited(each: Candidate, record: Mapping[str, Any] | None, floors: int) -> Audited:
    scores = None
    if record is not None:
        scores = score(
            each.predictions[0],
            split="report",
            parameters=each.parameters or 0,
            macs=each.macs or 0,
        )
    return Audited(
        model=each.model,
        paper=each.paper,
        scheme=each.scheme,
        report={} if record is None else record["report"],
        scores=scores,
        judgement=(FAILED,) if record is None else sentences(Evidence.of_record(record, floors)),
        tried=dict(each.tried),
        seeds=each.seeds if each.predictions else (),
    )


def _detectable(tables: Sequence[Predictions]) -> float | None:
    """The gap that one training would have shown, mean over trainings."""
    clusters = [Clusters([table.split("report")]) for table in tables]
    if len(clusters[0].cells.groups) < 2:
        return None
    return float(np.mean([detectable_gap(each).trend for each in clusters]))


def _stacked(tables: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    parts = []
    for name, table in tables.items():
        table.insert(0, "model", name)
        parts.append(table)
    return pd.concat(parts, ignore_index=True)
