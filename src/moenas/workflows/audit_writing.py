"""What every audit leaves, whoever made the predictions: tables, a summary and a page."""

from __future__ import annotations

import dataclasses
import datetime
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from moenas.config import to_dict
from moenas.evaluation.statistics import intersections
from moenas.metrics.votes import sensitivity_table
from moenas.report.audit.results import read_audit
from moenas.report.audit.table_one import latex, table_one
from moenas.report.html import render
from moenas.report.tables import csv_text
from moenas.runs import RunFolder, write_json, write_parquet, write_text
from moenas.runtime import Machine, peak_memory
from moenas.workflows.audit_results import Audited, Judged
from moenas.workflows.doctor import library_versions


@dataclasses.dataclass(frozen=True)
class AuditResult:
    """A finished audit: its folder, its models in the order in which they were named, the page."""

    run: Path
    models: tuple[Audited, ...]
    verdict: tuple[str, ...]
    report: Path


def conclude(
    folder: RunFolder,
    judged: Judged,
    *,
    data: dict[str, Any],
    image_size: int | None,
    seconds: Mapping[str, float],
    device: torch.device,
    curves: pd.DataFrame | None = None,
) -> AuditResult:
    """Write all that an audit leaves.

    Args:
        folder: Gets it.
        judged: What was found.
        data: See `data_record`.
        image_size: Side in pixels, where it is known.
        seconds: What each stage took.
        device: Where it was computed.
        curves: `degradation`'s tables with columns ``model`` and ``corruption`` before them.
    """
    there = {each.model: each for each in judged.candidates}
    tables = _write_tables(folder, judged, curves)
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
                for name, record in judged.compared.items()
            ],
            "verdict": judged.verdict,
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
            "verdict": judged.verdict,
            "leader": judged.leader,
            "models": [
                {**model.record(), "folder": each.folder}
                for model, each in zip(judged.models, judged.candidates, strict=True)
            ],
            "tables": tables,
            "peak_memory_bytes": peak_memory(),
        },
    )
    frame = table_one(read_audit(folder))
    write_text(folder.audit, csv_text(frame))
    write_parquet(folder.audit_parquet, frame)
    write_text(folder.audit_latex, latex(frame))
    return AuditResult(folder.path, judged.models, judged.verdict, render(folder))


def _write_tables(folder: RunFolder, judged: Judged, curves: pd.DataFrame | None) -> list[str]:
    """Write the tables that there are data for; return the names of their files."""
    for old in (folder.answers, folder.degradation, folder.intersections, folder.sensitivity):
        old.unlink(missing_ok=True)  # an earlier audit's, of other images perhaps
    found = {}
    if judged.answers is not None:
        found[folder.answers] = judged.answers
    if curves is not None and len(curves):
        found[folder.degradation] = curves
    some = next(iter(judged.halves.values()))
    grouped = (some.group >= 0).any()
    if grouped and some.frame["lighting"].notna().any():
        crossed = {name: intersections(table) for name, table in judged.halves.items()}
        found[folder.intersections] = _stacked(crossed)
    if grouped:
        labelled = {name: sensitivity_table(table) for name, table in judged.halves.items()}
        found[folder.sensitivity] = _stacked(labelled)
    for path, frame in found.items():
        write_text(path, csv_text(frame))
    return [path.name for path in found]


def _stacked(tables: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    parts = []
    for name, table in tables.items():
        table.insert(0, "model", name)
        parts.append(table)
    return pd.concat(parts, ignore_index=True)
