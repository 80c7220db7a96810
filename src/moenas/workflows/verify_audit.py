"""Recompute what an audit says: everything but the predictions themselves and corrupted images."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd

from moenas.models.zoo import PAPER_MODELS
from moenas.parsing import read_csv
from moenas.predictions import Predictions
from moenas.report.audit.results import read_audit
from moenas.report.audit.table_one import latex, table_one
from moenas.report.tables import csv_text
from moenas.runs import RunFolder
from moenas.serialisation import read_json
from moenas.workflows.audit_findings import find
from moenas.workflows.audit_models import Candidate
from moenas.workflows.verification import Verification


def verify_audit(folder: RunFolder, result: Verification) -> None:
    """Judge the models of an audit again and compare all that it left.

    Args:
        folder: Of a finished audit.
        result: Gets what differs.

    Raises:
        MoENASError: A file is missing or damaged.
    """
    settings = folder.read_config()["settings"]
    stored, summary = read_json(folder.comparison), read_json(folder.summary)
    if "predictions" in settings:
        candidates = list(_judged(folder, settings))
        result.models += len(candidates)
    else:
        candidates = list(_trained(folder, settings, summary))
    found = find(candidates, summary["notes"])
    result.compare("comparison.models", stored["models"], found.compared)
    result.compare("comparison.verdict", stored["verdict"], list(found.verdict))
    said = {"leader": found.leader, "searched": found.searched, "verdict": list(found.verdict)}
    result.compare("summary", {key: summary[key] for key in said if key in summary}, said)
    result.compare(
        "summary.models",
        [{k: v for k, v in entry.items() if k != "folder"} for entry in summary["models"]],
        [json.loads(json.dumps(model.record())) for model in found.models],
    )
    audit = read_audit(folder)
    table = table_one(audit)
    for path, frame in (
        (folder.answers, found.answers),
        (folder.intersections, found.intersections),
        (folder.sensitivity, found.sensitivity),
        (folder.audit, table),
    ):
        _table(path, frame, result)
    result.compare(
        folder.audit_latex.name,
        folder.audit_latex.read_text(encoding="utf-8"),
        latex(table),
    )
    _unspoilt(folder.degradation.name, audit.degradation, found.compared, result)


def _trained(
    folder: RunFolder, settings: dict[str, Any], summary: dict[str, Any]
) -> Iterator[Candidate]:
    """The models that the audit trained, their best schemes chosen again."""
    failed = {entry["model"]: entry["failed"] for entry in summary["models"]}
    seeds = range(settings["seed"], settings["seed"] + settings["seeds"])
    for model in settings["models"]:
        tried: dict[str, float | None] = {}
        for scheme in settings["schemes"]:
            path = folder.audited(model, scheme, settings["seed"]).scores
            scores = read_json(path)["scores"]["search"] if path.exists() else None
            tried[scheme] = None if scores is None else scores["balanced_accuracy"]
        known = {scheme: value for scheme, value in tried.items() if value is not None}
        best = max(known, key=lambda scheme: known[scheme], default=None)
        own = [] if best is None else [(s, folder.audited(model, best, s)) for s in seeds]
        own = [(seed, each) for seed, each in own if each.scores.exists()]
        cost = read_json(own[0][1].scores)["scores"]["report"] if own else {}
        yield Candidate(
            model=model,
            predictions=tuple(Predictions.load(each.predictions) for _, each in own),
            seeds=tuple(seed for seed, _ in own),
            failed={int(seed): why for seed, why in failed.get(model, {}).items()},
            parameters=cost.get("parameters"),
            macs=cost.get("macs"),
            paper=PAPER_MODELS.get(model),
            scheme=best,
            tried=tried,
        )


def _judged(folder: RunFolder, settings: dict[str, Any]) -> Iterator[Candidate]:
    """The models that other programs' predictions stand for."""
    for path in settings["predictions"]:
        name = Path(path).stem
        yield Candidate(name, (Predictions.load(folder.judged(name).predictions),))


def _table(path: Path, frame: pd.DataFrame | None, result: Verification) -> None:
    """Compare a stored table with one made again, cell by cell."""
    if frame is None or frame.empty:  # an audit writes no empty one
        if path.exists():
            result.problems.append(f"{path.name}: there should be no such table")
        return
    if not path.exists():
        result.problems.append(f"{path.name}: it is missing")
        return
    try:
        found = read_csv(path, keep_default_na=False)
    except (OSError, ValueError) as error:
        result.problems.append(f"{path.name}: it cannot be read ({error})")
        return
    made = pd.read_csv(io.StringIO(csv_text(frame)), keep_default_na=False)
    stored, again = (table.astype(object).to_dict("split") for table in (found, made))
    for part in ("columns", "data"):
        result.compare(f"{path.name}.{part}", stored[part], again[part])


def _unspoilt(
    file: str, curves: pd.DataFrame, compared: list[dict[str, Any]], result: Verification
) -> None:
    """Compare what corrupted images start from with the scores of the images as they are."""
    whole = curves[(curves["severity"] == 0) & (curves["score"] == "balanced_accuracy")]
    first = {entry["name"]: entry["report"]["balanced_accuracy"]["values"][0] for entry in compared}
    for row in whole.itertuples():
        where = f"{file}: {row.model}, {row.corruption}, as is"
        result.compare(where, row.value, first.get(row.model))
