"""The tables of a comparison's page, with their downloads."""

from __future__ import annotations

import dataclasses

import pandas as pd

from moenas.report import sections
from moenas.report.compare.comparing import ComparedRuns
from moenas.report.compare.entrants import ROLES, Entrant, ReadRun
from moenas.report.grid import Cell, Grid, Row, plain_grid
from moenas.report.measures import MEASURES, duration, millions, percent, span
from moenas.report.results import ComparedModel, Estimate
from moenas.report.tables import csv_uri
from moenas.report.theme import Style

SHOWN = {key: measure for key, measure in MEASURES.items() if key != "fairness_sum"}
"""The measures that the table has room for; the download has all."""


def runs_grid(compared: ComparedRuns, by_run: dict[str, Style]) -> Grid:
    """Return one row a run: what it is, of which data, and how much of these is shared."""
    best, common = compared.best, compared.common
    rows = []
    for run in compared.runs:
        summary = run.summary
        shared = len(common.report) if common and run.label in common.runs else 0
        own = common.own[run.label] if common and run.label in common.runs else _own(run)
        rows.append(
            {
                "run": run.label,
                "kind": run.kind,
                "best": best[run.label].name if run.label in best else None,
                "models": len(run.entrants),
                "report_images": own,
                "shared_images": shared,
                "data": run.data.source,
                "fingerprint": run.data.fingerprint,
                "image_size": _image_size(run),
                "seconds": summary.seconds.get("total") if summary else None,
                "created": (summary.created or "")[:10] if summary else None,
                "version": summary.versions.get("moenas") if summary else None,
            }
        )
    counts = ("models", "report_images", "shared_images", "image_size")
    frame = pd.DataFrame(rows).astype(dict.fromkeys(counts, "Int64"))
    headers = {
        "run": "Run",
        "kind": "Kind",
        "best": "Its best model",
        "models": "Models",
        "report_images": "Images of its report half",
        "shared_images": "Of these shared",
        "data": "Data",
        "image_size": "Image size, px",
        "seconds": "Time",
        "created": "Made",
    }
    kept = {name: text for name, text in headers.items() if frame[name].notna().any()}
    grid = plain_grid(frame, "runs.csv", kept, {"seconds": duration})
    return Grid(
        grid.headers,
        tuple(
            Row(row.cells, slot=by_run[run.label].slot)
            for row, run in zip(grid.rows, compared.runs, strict=True)
        ),
        grid.csv,
        grid.file_name,
    )


def _own(run: ReadRun) -> int | None:
    tables = [table for model in run.entrants for table in model.predictions]
    return int((tables[0].frame["split"] == "report").sum()) if tables else None


def _image_size(run: ReadRun) -> int | None:
    size = (run.summary.image_size if run.summary else None) or run.settings.get("image_size")
    return size if isinstance(size, int) else None


def models_grid(compared: ComparedRuns, look: dict[str, Style]) -> Grid:
    """Return the table of all models of all runs: size, and each measure with its interval.

    Models without answers about the common images have the numbers of their own run, and say so.
    """
    measured = {model.name: model for model in compared.models}
    mixed = compared.common is not None
    rows, records = [], []
    for run in compared.runs:
        for entrant in run.entrants:
            model = measured.get(entrant.key)
            report = model.report if model else entrant.stored
            seeds = len(model.seeds) if model else len(entrant.seeds)
            rows.append(
                Row(
                    (
                        Cell(
                            entrant.name,
                            sub=_sub(entrant, seeds, own=mixed and model is None),
                        ),
                        Cell(run.label),
                        Cell(millions(entrant.parameters), value=entrant.parameters),
                        *(_cell(report.get(key)) for key in SHOWN),
                    ),
                    slot=look[entrant.key].slot,
                    model=entrant.key if model else None,
                )
            )
            records.append(_record(run, entrant, seeds, model, report))
    headers = ["Model", "Run", "Size, M"]
    headers += [f"{m.label}, {'%' if m.unit == '%' else 'pts'}" for m in SHOWN.values()]
    hints = ["", "", "Parameters, in millions", *(m.meaning for m in SHOWN.values())]
    frame = pd.DataFrame(records)
    return Grid(tuple(headers), tuple(rows), csv_uri(frame), "models.csv", tuple(hints))


def _sub(entrant: Entrant, seeds: int, *, own: bool) -> str:
    trained = "" if not seeds else "1 seed" if seeds == 1 else f"{seeds} seeds"
    where = "on its own run's images" if own else ""
    return " · ".join(part for part in (ROLES[entrant.role], trained, where) if part)


def _cell(estimate: Estimate | None) -> Cell:
    if estimate is None:
        return Cell("–")
    value = percent(estimate.mean)
    return Cell(value, value=estimate.mean, sub=span(estimate.low, estimate.high))


def _record(
    run: ReadRun, entrant: Entrant, seeds: int, model: ComparedModel | None, report: object
) -> dict[str, object]:
    record: dict[str, object] = {
        "run": run.label,
        "model": entrant.name,
        "role": entrant.role,
        "architecture": entrant.architecture,
        "parameters": entrant.parameters,
        "seeds": seeds,
        "images": "common" if model else "own",
    }
    for key in MEASURES:
        estimate = report.get(key) or Estimate(None)  # type: ignore[attr-defined]
        record |= {key: estimate.mean, f"{key}_low": estimate.low, f"{key}_high": estimate.high}
    return record


def answers_grid(compared: ComparedRuns, look: dict[str, Style]) -> Grid:
    """Return one row a model: its answers against those of the first run's best, image by image.

    The download has a row for each skin tone, too.
    """
    frame = compared.answers
    told = frame.assign(outcome=sections.answer_outcomes(frame)).drop(columns="better")
    grid = sections.answers_grid(frame, "Only the other right", look, skipped=("p",))
    return dataclasses.replace(grid, csv=csv_uri(told))


def settings_grid(compared: ComparedRuns) -> Grid:
    """Return one row a setting that differs."""
    frame = compared.settings
    headers = {column: "Setting" if column == "setting" else column for column in frame.columns}
    return plain_grid(frame, "settings.csv", headers)
