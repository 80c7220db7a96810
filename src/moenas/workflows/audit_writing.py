"""What every audit leaves, whoever made the predictions: tables, a summary and a page."""

from __future__ import annotations

import dataclasses
import datetime
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from moenas.atomic import write_text
from moenas.config import to_dict
from moenas.report.audit.results import read_audit
from moenas.report.audit.table_one import latex, table_one
from moenas.report.html import render
from moenas.report.tables import csv_text
from moenas.runs import RunFolder
from moenas.runtime import Machine, peak_memory
from moenas.serialisation import write_json, write_parquet
from moenas.workflows.audit_findings import Findings
from moenas.workflows.audit_models import Audited
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
    found: Findings,
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
        found: What was found.
        data: See `data_record`.
        image_size: Side in pixels, where it is known.
        seconds: What each stage took.
        device: Where it was computed.
        curves: `degradation`'s tables with columns ``model`` and ``corruption`` before them.
    """
    tables = _write_tables(folder, found, curves)
    write_json(folder.comparison, {"models": found.compared, "verdict": found.verdict})
    write_json(
        folder.summary,
        {
            "created": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
            "machine": to_dict(Machine.here(device)),
            "versions": library_versions(),
            "image_size": image_size,
            "seconds": {**seconds, "total": round(sum(seconds.values()), 1)},
            "data": data,
            "verdict": found.verdict,
            "notes": found.notes,
            "leader": found.leader,
            "searched": found.searched,
            "models": [
                {**model.record(), "folder": each.folder}
                for model, each in zip(found.models, found.candidates, strict=True)
            ],
            "tables": tables,
            "peak_memory_bytes": peak_memory(),
        },
    )
    frame = table_one(read_audit(folder))
    write_text(folder.audit, csv_text(frame))
    write_parquet(folder.audit_parquet, frame)
    write_text(folder.audit_latex, latex(frame))
    return AuditResult(folder.path, found.models, found.verdict, render(folder))


def _write_tables(folder: RunFolder, found: Findings, curves: pd.DataFrame | None) -> list[str]:
    """Write the tables that there are data for; return the names of their files."""
    written = []
    for path, frame in (
        (folder.answers, found.answers),
        (folder.degradation, curves),
        (folder.intersections, found.intersections),
        (folder.sensitivity, found.sensitivity),
    ):
        path.unlink(missing_ok=True)  # an earlier audit's, of other images perhaps
        if frame is not None and len(frame):
            write_text(path, csv_text(frame))
            written.append(path.name)
    return written
