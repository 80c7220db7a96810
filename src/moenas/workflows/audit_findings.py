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
from moenas.evaluation.scores import score
from moenas.evaluation.statistics import (
    Clusters,
    compare_answers,
    detectable_gap,
    intersections,
)
from moenas.evaluation.threshold import settable
from moenas.metrics.metric import METRICS
from moenas.metrics.votes import sensitivity_table
from moenas.predictions import Predictions
from moenas.report.audit.verdict import verdict
from moenas.workflows.audit_models import FAILED, Audited, Candidate
from moenas.workflows.audit_notes import failed_seeds, unequal_seeds, weightless_groups


@dataclasses.dataclass(frozen=True)
class Findings:
    """What an audit says of its models; tables of one model or without labels are None.

    Attributes:
        candidates: The models as they were given.
        compared: The entries of ``comparison.json``.
        leader: What the others are compared with.
        searched: Whether it is the most accurate on the search half; else it was named first.
        models: In the order in which they were named.
        verdict: The first sentences.
        notes: What else must be known of the images; they end the verdict.
        answers: `compare_answers` with the leader, of the first seeds, like the next two.
        intersections: Tone × light, with ``model``.
        sensitivity: To the labels of tones, with ``model``.
    """

    candidates: tuple[Candidate, ...]
    compared: list[dict[str, Any]]
    leader: str
    searched: bool
    models: tuple[Audited, ...]
    verdict: tuple[str, ...]
    notes: tuple[str, ...]
    answers: pd.DataFrame | None
    intersections: pd.DataFrame | None
    sensitivity: pd.DataFrame | None


def find(candidates: Sequence[Candidate], notes: Sequence[str] = ()) -> Findings:
    """Judge models on the report half.

    Args:
        candidates: The models; at least one has predictions.
        notes: What else must be known of these images; told after the verdict.

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
    alike = len({each.seeds for each in there.values()}) == 1
    trained = any(each.scheme for each in candidates) and alike
    said = verdict(found, answers, leader, trained=trained, searched=searched)
    said += [] if alike else [unequal_seeds(there)]
    said += [*weightless_groups(halves[leader]), *notes]
    some = halves[leader]
    grouped, lit = bool((some.group >= 0).any()), bool(some.frame["lighting"].notna().any())
    return Findings(
        candidates=tuple(candidates),
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
        verdict=tuple(said),
        notes=tuple(notes),
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
    if not all(settable(half) for half in halves.values()):
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
        judgement=(FAILED,)
        if record is None
        else (*sentences(Evidence.of_record(record, floors)), *failed_seeds(each)),
        tried=dict(each.tried),
        seeds=each.seeds if each.predictions else (),
        failed=dict(each.failed),
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
