"""What the page of a comparison shows, gathered for its template."""

from __future__ import annotations

from importlib import metadata
from typing import Any

import pandas as pd

from moenas.evaluation.words import listed
from moenas.report import charts_compare, sections, tables
from moenas.report.audit.charts_tones import tone_panels
from moenas.report.compare import grids
from moenas.report.compare.comparing import BEST, SAME, ComparedRuns
from moenas.report.measures import MEASURES, percent, probability
from moenas.report.results import Comparison
from moenas.report.theme import LIGHT_LABELS, Style, both_widths, run_styles

HEADLINE = ("balanced_accuracy", "worst_group_accuracy", "fairness", "robustness", "overfitting")
"""What the first screen tells of each run's best model."""

MANY = 24
"""Of more models no panels are drawn: the table and its download have them all."""


def compare_content(compared: ComparedRuns) -> dict[str, Any]:
    """Return the variables of ``compare.html.j2``; a part that there is nothing for is None.

    Args:
        compared: The comparison.
    """
    by_run = run_styles([run.label for run in compared.runs])
    look = {model.key: by_run[run.label] for run in compared.runs for model in run.entrants}
    best = {entrant.key for entrant in compared.best.values()}
    chosen = Comparison(tuple(model for model in compared.models if model.name in best))
    everyone = Comparison(compared.models)
    differences = compared.differences
    sources = {name for run in compared.runs for name in run.data.sources}
    return {
        "title": listed([run.label for run in compared.runs]),
        "version": metadata.version("moenas"),
        "summary": None,
        "data": {"source": ", ".join(sorted(sources))},
        "notes": sorted({run.data.note for run in compared.runs if run.data.note}),
        "measures": MEASURES,
        "headline": [MEASURES[key].label for key in HEADLINE],
        "compared": compared,
        "legend": _legend(compared, by_run),
        "outcomes": _outcomes(compared, BEST, look),
        "networks": _outcomes(compared, SAME, look),
        "runs": grids.runs_grid(compared, by_run),
        "models": grids.models_grid(compared, look),
        "best": _difference_charts(compared, look),
        "differences": sections.differences_grid(differences, look) if len(differences) else None,
        "answers": grids.answers_grid(compared, look) if len(compared.answers) else None,
        "tones": _tones(chosen, everyone, look),
        "lights": _lights(chosen, everyone, look),
        "noise": _noise(chosen, look),
        "settings": grids.settings_grid(compared) if len(compared.settings) else None,
        "missing": compared.missing,
    }


def _legend(compared: ComparedRuns, by_run: dict[str, Style]) -> list[dict[str, Any]]:
    return [
        {"name": entrant.key, "slot": by_run[label].slot,
         "mark": charts_compare.legend_mark(by_run[label])}
        for label, entrant in compared.best.items()
    ]  # fmt: skip


def _outcomes(compared: ComparedRuns, why: str, look: dict[str, Style]) -> list[dict[str, Any]]:
    """One row a pair of models: its outcome in each main measure."""
    frame = compared.differences[compared.differences["why"] == why]
    rows = []
    for (model, against), part in frame.groupby(["model", "against"], sort=False):
        own = {row["measure"]: row for row in part.to_dict("records")}
        cells = [
            {
                "measure": MEASURES[key].label,
                "outcome": row["outcome"],
                "difference": percent(row["difference"], signed=True),
                "detail": _detail(row),
            }
            if (row := own.get(key))
            else None
            for key in HEADLINE
        ]
        rows.append(
            {"name": model, "against": against, "slot": look[str(model)].slot, "cells": cells}
        )
    return rows


def _detail(row: dict[Any, Any]) -> str:
    if pd.isna(row["low"]):
        unknown = ": nothing is known of other trainings" if pd.isna(row["p"]) else ""
        return f"{row['outcome']}{unknown}"
    low, high = (percent(row[end], signed=True) for end in ("low", "high"))
    return f"{row['outcome']}: {low} to {high} points, Holm p {probability(row['p_holm'])}"


def _difference_charts(compared: ComparedRuns, look: dict[str, Style]) -> dict[str, Any] | None:
    """Each run's best model against the first one's; None where no test could be made."""
    frame = compared.differences
    part = frame[(frame["why"] == BEST) & frame["p"].notna()]
    if part.empty:
        return None
    label = "Differences in each measure, with intervals; the table below holds the numbers."
    return both_widths(charts_compare.difference_chart, part, look, label=label)


def _tones(
    chosen: Comparison, everyone: Comparison, look: dict[str, Style]
) -> dict[str, Any] | None:
    frame = tables.tones(chosen)
    if not frame["mean"].notna().any():
        return None
    label = "Accuracy of each run's best model on each skin tone; the table below has the numbers."
    whole = tables.tones(everyone)
    panels = None
    if len(chosen.models) < len(everyone.models) <= MANY:
        first = chosen.models[0].name
        words = "Accuracy of every model on each skin tone; the table below has the numbers."
        panels = both_widths(tone_panels, whole, first, label=words)
    return {
        **both_widths(
            charts_compare.interval_chart, frame, look, axis="tone", label=label, connect=True
        ),
        "panels": panels,
        "grid": sections.category_grid(whole, look, {}, "accuracy-per-tone.csv"),
    }


def _lights(
    chosen: Comparison, everyone: Comparison, look: dict[str, Style]
) -> dict[str, Any] | None:
    frame = tables.lights(chosen)
    if not frame["mean"].notna().any():
        return None
    label = "Balanced accuracy of each run's best model in each light; numbers in the table below."
    whole = tables.lights(everyone)
    return {
        **both_widths(charts_compare.interval_chart, frame, look, axis="light", label=label),
        "grid": sections.category_grid(whole, look, LIGHT_LABELS, "accuracy-per-light.csv"),
    }


def _noise(chosen: Comparison, look: dict[str, Style]) -> dict[str, Any] | None:
    frame = tables.noise(chosen)
    if frame.empty or not frame["fairness"].notna().any():
        return None
    label = "Fairness of each run's best model against what a perfectly fair model would score."
    return both_widths(charts_compare.noise_chart, frame, look, label=label)
