"""What every audit leaves, whoever made the predictions: tables, a summary and a page."""

from __future__ import annotations

import dataclasses
import datetime
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from moenas.config import to_dict
from moenas.evaluation.comparison import Comparison
from moenas.evaluation.judgement import judgement
from moenas.evaluation.scores import Scores, score
from moenas.evaluation.statistics import compare_answers, intersections
from moenas.metrics.metric import METRICS
from moenas.metrics.votes import sensitivity_table
from moenas.predictions import Predictions
from moenas.report.audit.results import read_audit
from moenas.report.audit.table_one import latex, table_one
from moenas.report.audit.verdict import verdict
from moenas.report.html import render
from moenas.report.tables import csv_text
from moenas.runs import RunFolder, write_json, write_parquet, write_text
from moenas.runtime import Machine, peak_memory
from moenas.workflows.doctor import library_versions

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
        scores: Of the report half, by the first seed; None where all trainings failed.
        judgement: What they mean; over all seeds.
        tried: Balanced accuracy on the search half by scheme, None where the training failed.
        seeds: Of its trainings.
    """

    model: str
    paper: str | None
    scheme: str | None
    scores: Scores | None
    judgement: tuple[str, ...]
    tried: dict[str, float | None]
    seeds: tuple[int, ...]


@dataclasses.dataclass(frozen=True)
class AuditResult:
    """A finished audit: its folder, its models in the order in which they were named, the page."""

    run: Path
    models: tuple[Audited, ...]
    verdict: tuple[str, ...]
    report: Path


def conclude(
    folder: RunFolder,
    candidates: Sequence[Candidate],
    *,
    data: dict[str, Any],
    image_size: int | None,
    seconds: Mapping[str, float],
    device: torch.device,
    curves: pd.DataFrame | None = None,
) -> AuditResult:
    """Judge models on the report half and write all that an audit leaves.

    Args:
        folder: Gets it.
        candidates: The models; at least one has predictions.
        data: See `data_record`.
        image_size: Side in pixels, where it is known.
        seconds: What each stage took.
        device: Where it was computed.
        curves: `degradation`'s tables with columns ``model`` and ``corruption`` before them.

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
            judgement=judgement(over_seeds(scores[each.model], compared[each.model]))
            if each.model in scores
            else (FAILED,),
            tried=dict(each.tried),
            seeds=each.seeds if each.predictions else (),
        )
        for each in candidates
    )
    halves = {name: table.split("report") for name, table in first.items()}
    answers = compare_answers(halves, leader) if len(halves) > 1 else None
    trained = any(each.scheme for each in candidates)
    sentences = verdict(compared, answers, leader, trained=trained, searched=searched)
    write_json(
        folder.comparison,
        {
            "models": [
                {
                    "name": name,
                    "role": "audited",
                    "architecture": name,
                    "seeds": list(there[name].seeds),
                    "parameters": there[name].parameters,
                    "macs": there[name].macs,
                    **record,
                }
                for name, record in compared.items()
            ],
            "verdict": sentences,
        },
    )
    write_json(
        folder.summary,
        {
            "created": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
            "machine": to_dict(Machine.here(device)),
            "versions": library_versions(),
            "image_size": image_size,
            "seconds": {**seconds, "total": round(sum(seconds.values()), 1)},
            "data": data,
            "verdict": sentences,
            "leader": leader,
            "models": [
                {**to_dict(m), "folder": each.folder}
                for m, each in zip(models, candidates, strict=True)
            ],
            "peak_memory_bytes": peak_memory(),
        },
    )
    _write_tables(folder, halves, answers, curves)
    frame = table_one(read_audit(folder))
    write_text(folder.audit, csv_text(frame))
    write_parquet(folder.audit_parquet, frame)
    write_text(folder.audit_latex, latex(frame))
    return AuditResult(folder.path, models, tuple(sentences), render(folder))


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


def _write_tables(
    folder: RunFolder,
    halves: Mapping[str, Predictions],
    answers: pd.DataFrame | None,
    curves: pd.DataFrame | None,
) -> None:
    for old in (folder.answers, folder.degradation, folder.intersections, folder.sensitivity):
        old.unlink(missing_ok=True)  # an earlier audit's, of other images perhaps
    if answers is not None:
        write_text(folder.answers, csv_text(answers))
    if curves is not None and len(curves):
        write_text(folder.degradation, csv_text(curves))
    some = next(iter(halves.values())).frame
    grouped = some["group"].notna().any()
    if grouped and some["lighting"].notna().any():
        crossed = {name: intersections(table) for name, table in halves.items()}
        write_text(folder.intersections, csv_text(_stacked(crossed)))
    if grouped:
        labelled = {name: sensitivity_table(table) for name, table in halves.items()}
        write_text(folder.sensitivity, csv_text(_stacked(labelled)))


def _stacked(tables: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    parts = []
    for name, table in tables.items():
        table.insert(0, "model", name)
        parts.append(table)
    return pd.concat(parts, ignore_index=True)
