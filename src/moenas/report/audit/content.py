"""What each section of an audit's page shows, gathered for its template."""

from __future__ import annotations

import dataclasses
import json
from importlib import metadata
from typing import Any

import pandas as pd

from moenas.evaluation.comparison import LEVEL
from moenas.report import charts_compare, content, sections, tables
from moenas.report.audit import charts_points, charts_rows, charts_tones, frames
from moenas.report.audit.results import AuditResults
from moenas.report.audit.table_one import MEASURED, table_one
from moenas.report.grid import Cell, Grid, Row, plain_grid
from moenas.report.measures import MEASURES, millions, number, percent, probability, span
from moenas.report.results import ComparedModel
from moenas.report.tables import csv_uri
from moenas.report.theme import LIGHT_LABELS, Style, both_widths

DROPS_AT = 3
"""The severity at which drops are told tone by tone, the middle one of five."""


def audit_content(audit: AuditResults) -> dict[str, Any]:
    """Return the variables of ``audit.html.j2``; a part that the run lacks is None.

    Args:
        audit: What the run folder holds.
    """
    results, models = audit.results, audit.compared
    summary = results.summary
    assert summary is not None
    assert results.comparison is not None
    useless = {model.name for model in models if not model.able}
    look = {model.name: _look(model, audit.leader) for model in models}
    scattered = frames.points(models)
    lights = frames.lights(models)
    ordered = dataclasses.replace(results.comparison, models=models)
    tones, by_light, noise = tables.tones(ordered), tables.lights(ordered), tables.noise(ordered)
    trained = any(model.scheme for model in audit.models)
    return {
        "results": results,
        "summary": summary,
        "data": summary.data,
        "version": metadata.version("moenas"),
        "verdict": summary.verdict,
        "leader": audit.leader,
        "useless": bool(useless),
        "papers": any(model.paper for model in audit.models),
        "judged": [(m.model, m.judgement) for m in audit.models],
        "trained": trained,
        "seeds": max(len(model.seeds) for model in audit.models),
        "table": _table_grid(audit),
        "schemes": _schemes_grid(audit) if trained else None,
        "families": _points(scattered, charts_points.FIG_2, audit.leader, "size and accuracy"),
        "trade_offs": _points(scattered, charts_points.FIG_8, audit.leader, "balanced accuracy"),
        "tones": both_widths(
            charts_tones.tone_panels,
            tones,
            audit.leader,
            useless,
            label="Accuracy of each model on each skin tone; the table has the numbers.",
        )
        | {"grid": sections.category_grid(tones, look, {}, "accuracy-per-tone.csv")}
        if tones["mean"].notna().any()
        else None,
        "searched": audit.searched,
        "noise_models": len(noise),
        "noise": both_widths(
            charts_compare.noise_chart,
            noise,
            look,
            label="Fairness of each model against what a perfectly fair one would score.",
        )
        if len(noise)
        else None,
        "lights": both_widths(
            charts_rows.light_rows,
            lights,
            label="Balanced accuracy of each model on validation images, the report half, and "
            "in poor light.",
        ),
        "by_light": sections.category_grid(by_light, look, LIGHT_LABELS, "accuracy-per-light.csv")
        if by_light["mean"].notna().any()
        else None,
        "curves": [_curve(audit, name) for name in audit.degradation["corruption"].unique()],
        "intersections": _intersections_grid(audit) if len(audit.intersections) else None,
        "answers": sections.answers_grid(audit.answers, f"Only {audit.leader} right")
        if len(audit.answers)
        else None,
        "sensitivity": _sensitivity_grid(audit) if len(audit.sensitivity) else None,
        "counts": sections.counts_grid(tables.counts(summary))
        if summary.data and summary.data.counts
        else None,
        "stages": content.stages_context(results),
        "paper": content.paper_grid(),
        "settings": json.dumps(results.settings, indent=2, ensure_ascii=False, default=str),
        "measures": MEASURES,
        "missing": _missing(audit),
    }


def _look(model: ComparedModel, leader: str) -> Style:
    slot = "lead" if model.name == leader else "plain"
    return Style(slot if model.able else "useless", "", "o", "")


def _points(
    frame: pd.DataFrame, panels: tuple[charts_points.Panel, ...], leader: str, what: str
) -> dict[str, Any] | None:
    shown = charts_points.drawable(frame, panels)
    if not shown:
        return None
    label = f"Models as points by {what}; the table of all models has the numbers."
    return both_widths(charts_points.points_chart, frame, shown, leader, label=label)


def _missing(audit: AuditResults) -> list[str]:
    gone = list(audit.lost)
    models = audit.compared
    if not any(model.groups for model in models):
        gone.append("Skin tones and fairness: the images have no groups.")
    if not any("robustness" in model.report for model in models):
        gone.append("Poor light: no image with and without a person has a label of it.")
    if not any("overfitting" in model.report for model in models):
        gone.append("Overfitting: there are no predictions of validation images.")
    if audit.degradation.empty and not any("degradation" in lost for lost in audit.lost):
        gone.append("Worse and worse images: nothing was corrupted (only models can be shown any).")
    if len(models) == 1:
        gone.append("Comparisons: there is one model alone.")
    failed = [entry.model for entry in audit.models if not entry.seeds]
    if failed:
        gone.append(f"No training succeeded: {', '.join(failed)}.")
    return gone


def _table_grid(audit: AuditResults) -> Grid:
    """Our Table I, with the paper's row beneath each number that it has."""
    frame = table_one(audit)
    papers = {"balanced_accuracy": "accuracy", "fairness": "fairness",
              "robustness": "robustness", "overfitting": "overfitting"}  # fmt: skip
    rows = []
    for row in frame.sort_values("balanced_accuracy", ascending=False).to_dict("records"):
        trainings = "" if pd.isna(row["seeds"]) or row["seeds"] < 2 else f"{row['seeds']} seeds"
        name = Cell(row["model"], sub=" · ".join(filter(None, (_text(row["scheme"]), trainings))))
        size = None if pd.isna(row["parameters"]) else int(row["parameters"])
        macs = "" if pd.isna(row["macs"]) else f"{number(row['macs'] / 1e6, 0)} M MACs"
        cells = [name, Cell(millions(size), value=size, sub=macs)]
        for key in MEASURED:
            value = _number(row[key])
            sub = span(_number(row[f"{key}_low"]), _number(row[f"{key}_high"]))
            paper = _number(row.get(f"paper_{papers[key]}")) if key in papers else None
            note = "" if paper is None else f"paper {percent(paper)}"
            cells.append(Cell(percent(value), value=value, sub=sub, note=note))
        p = _number(row["fairness_p_holm"])
        cells.append(Cell(probability(p), value=p))
        rows.append(Row(tuple(cells), model=row["model"]))
    headers = ["Model", "Size, M"]
    headers += [f"{MEASURES[k].label}, {'%' if MEASURES[k].unit == '%' else 'pts'}"
                for k in MEASURED]  # fmt: skip
    hints = ["", "Parameters, and multiply-adds (MACs) for one image, in millions"]
    hints += [MEASURES[key].meaning for key in MEASURED]
    return Grid(
        (*headers, "Unfair: p, Holm"),
        tuple(rows),
        csv_uri(frame),
        "audit.csv",
        (*hints, "How often a perfectly fair model looks as unfair as this, after Holm's correction"
                 " over models"),
    )  # fmt: skip


def _schemes_grid(audit: AuditResults) -> Grid:
    names = list(dict.fromkeys(name for model in audit.models for name in model.tried))
    frame = pd.DataFrame([{"model": model.model, **model.tried} for model in audit.models])
    rows = []
    for model in audit.models:
        cells = [Cell(model.model)]
        for name in names:
            value = model.tried.get(name)
            text = percent(value) if value is not None else "failed"
            cells.append(Cell(text, value=value, sub="chosen" if name == model.scheme else ""))
        rows.append(Row(tuple(cells), model=model.model))
    return Grid(("Model", *names), tuple(rows), csv_uri(frame), "schemes.csv")


def _curve(audit: AuditResults, corruption: str) -> dict[str, Any]:
    frame = frames.curves(audit, corruption)
    drops = frames.tone_drops(audit, corruption, DROPS_AT)
    look = {name: Style("plain", "", "o", "") for name in drops["model"]}
    title = corruption.replace("_", " ")
    drawn = both_widths(
        charts_rows.curve_chart,
        frame,
        audit.leader,
        label=f"Balanced accuracy of each model at each severity of {title}.",
    )
    whole = audit.degradation[audit.degradation["corruption"] == corruption]
    return drawn | {
        "name": title,
        "grid": sections.category_grid(drops, look, {}, f"{corruption}-drops-per-tone.csv")
        if len(drops)
        else None,
        "csv": csv_uri(whole),
        "file_name": f"{corruption}.csv",
    }


def _intersections_grid(audit: AuditResults) -> Grid:
    frame = audit.intersections
    behind = frame[(frame["gap"] < 0) & frame["p_holm"].notna()]
    shown = behind.sort_values(["p_holm", "gap"]).drop_duplicates("model")
    rows = [
        Row(
            (
                Cell(row["model"]),
                Cell(str(row["group"]), value=int(row["group"])),
                Cell(LIGHT_LABELS.get(row["lighting"], str(row["lighting"]))),
                Cell(str(row["n"]), value=int(row["n"])),
                Cell(percent(row["accuracy"]), value=row["accuracy"],
                     sub=span(_number(row["low"]), _number(row["high"]))),
                Cell(percent(row["gap"], signed=True), value=row["gap"],
                     sub=span(_number(row["gap_low"]), _number(row["gap_high"]))),
                Cell(probability(row["p_holm"]), value=row["p_holm"],
                     sub="" if row["p_holm"] < LEVEL else "undecided"),
            ),
            model=row["model"],
        )
        for row in shown.to_dict("records")
    ]  # fmt: skip
    headers = ("Model", "Tone", "Light", "Images", "Accuracy, %", "Behind everyone else, pts",
               "p, Holm")  # fmt: skip
    return Grid(headers, tuple(rows), csv_uri(frame), "intersections.csv")


def _sensitivity_grid(audit: AuditResults) -> Grid:
    spread = frames.spreads(audit)
    names = {name: str(name).capitalize() for name in spread.columns.drop("model")}
    return plain_grid(
        spread, "sensitivity.csv", {"model": "Model", **names}, dict.fromkeys(names, percent)
    )


def _number(value: Any) -> float | None:
    return None if value is None or pd.isna(value) else float(value)


def _text(value: Any) -> str:
    return "" if value is None or pd.isna(value) else str(value)
