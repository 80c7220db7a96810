"""What each section of the page shows, gathered for the templates."""

from __future__ import annotations

import json
from importlib import metadata
from typing import Any

import pandas as pd

from moenas.report import charts_compare, sections, tables
from moenas.report.answers import answers
from moenas.report.cards import cards, chosen_finalist
from moenas.report.content_search import pruning_context, search_context, volume_context
from moenas.report.grid import Grid, plain_grid
from moenas.report.measures import (
    HEADLINE,
    MEASURES,
    number,
    percent,
    probability,
)
from moenas.report.paper_table import paper_table
from moenas.report.results import Comparison, Results
from moenas.report.theme import LIGHT_LABELS, Style, both_widths, styles
from moenas.report.verdict import badge


def content(results: Results) -> dict[str, Any]:
    """Return the variables of ``report.html.j2``; a part that the run lacks is None.

    Args:
        results: What the run folder holds.
    """
    summary, comparison = results.summary, results.comparison
    search = summary.search if summary else None
    data = summary.data if summary else None
    verdict = (comparison.verdict if comparison else ()) or (summary.verdict if summary else ())
    outcome = badge(comparison)
    look = styles(comparison.models if comparison else ())
    return {
        "results": results,
        "summary": summary,
        "data": data,
        "search": search,
        "seeds": max((len(m.seeds) for m in comparison.models), default=0) if comparison else 0,
        "version": metadata.version("moenas"),
        "badge": outcome,
        "answers": answers(results, outcome, look),
        "verdict": verdict,
        "measures": MEASURES,
        "headline": [MEASURES[key].label for key in HEADLINE],
        "compared": _comparison_context(results, comparison) if comparison else None,
        "explored": search_context(results, look) if results.trials else None,
        "volume": volume_context(search) if search else None,
        "pruned": pruning_context(results.pruning) if results.pruning else None,
        "counts": sections.counts_grid(tables.counts(summary))
        if summary and data and data.counts
        else None,
        "stages": stages_context(results),
        "paper": paper_grid(),
        "settings": json.dumps(results.settings, indent=2, ensure_ascii=False, default=str),
        "missing": _missing(results),
    }


def _missing(results: Results) -> list[str]:
    """Say which parts of a full report this run does not have, and why."""
    gone = []
    if results.summary is None:
        gone.append("Setup and cost: there is no summary.json (the run has not ended).")
    if results.comparison is None:
        gone.append(
            "Comparison, skin tones, light and noise floor: there is no comparison.json (no "
            "finalists were trained and compared)."
        )
    elif not any(model.role == "finalist" for model in results.comparison.models):
        gone.append("Finalists: comparison.json holds none.")
    if not results.trials:
        gone.append("Search: there is no trials.json or it is empty (nothing was searched).")
    if results.pruning is None:
        gone.append("Pruning: there is no pruned/curve.json (nothing was pruned).")
    return gone


def _legend(comparison: Comparison, look: dict[str, Style]) -> list[dict[str, Any]]:
    result = []
    for model in comparison.models:
        drawing = charts_compare.legend_mark(look[model.name])
        result.append(
            {
                "name": model.name,
                "role": sections.ROLE_NAMES[model.role],
                "slot": look[model.name].slot,
                "mark": drawing,
            }
        )
    return result


def _comparison_context(results: Results, comparison: Comparison) -> dict[str, Any]:
    look = styles(comparison.models)
    slots = {name: style.slot for name, style in look.items()}
    tones, lights = tables.tones(comparison), tables.lights(comparison)
    differences, noise = tables.differences(comparison), tables.noise(comparison)
    shown = differences[differences["measure"].isin(list(MEASURES))]
    context: dict[str, Any] = {
        "models": comparison.models,
        "legend": _legend(comparison, look),
        "chosen": chosen_finalist(comparison, results.trials),
        "cards": cards(comparison, results.trials, look),
        "leaderboard": sections.leaderboard_grid(comparison, look),
        "outcomes": sections.verdict_grid(comparison, look),
        "differences": _difference_charts(shown, look),
        "differences_grid": sections.differences_grid(differences, look),
        "tones": None,
        "lights": None,
        "noise": None,
    }
    if tones["mean"].notna().any():
        label = (
            "Accuracy of each model on each skin tone with intervals; the table below holds the "
            "numbers."
        )
        context["tones"] = {
            **both_widths(
                charts_compare.interval_chart, tones, look, axis="tone", label=label, connect=True
            ),
            "grid": sections.category_grid(tones, look, {}, "accuracy-per-tone.csv"),
        }
    if lights["mean"].notna().any():
        label = (
            "Balanced accuracy of each model in each light with intervals; the table below holds "
            "the numbers."
        )
        context["lights"] = {
            **both_widths(charts_compare.interval_chart, lights, look, axis="light", label=label),
            "grid": sections.category_grid(lights, look, LIGHT_LABELS, "accuracy-per-light.csv"),
        }
    if len(noise) and noise["fairness"].notna().any():
        label = (
            "Fairness of each model against the range that a perfectly fair model would score by "
            "chance; the table below holds the numbers."
        )
        context["noise"] = {
            **both_widths(charts_compare.noise_chart, noise, look, label=label),
            "grid": plain_grid(
                noise,
                "noise-floor.csv",
                {
                    "model": "Model",
                    "fairness": "Fairness, %",
                    "fairness_debiased": "Debiased, %",
                    "floor_mean": "Fair model's mean, %",
                    "floor_sd": "sd, pts",
                    "floor_low": "Fair model's 5 % quantile, %",
                    "p_value": "p",
                    "p_holm": "p, Holm",
                },
                {
                    **dict.fromkeys(
                        (
                            *("fairness", "fairness_debiased"),
                            *("floor_mean", "floor_sd", "floor_low"),
                        ),
                        percent,
                    ),
                    **dict.fromkeys(("p_value", "p_holm"), probability),
                },
                slots,
            ),
        }
    return context


def _difference_charts(frame: pd.DataFrame, look: dict[str, Style]) -> list[dict[str, Any]]:
    charts = []
    for reference in ("base", "wider"):
        part = frame[frame["against"] == reference]
        if len(part):
            name = sections.ROLE_NAMES[reference]
            label = (
                f"Differences of each model to the {name} in each measure, with intervals; the "
                "table below holds the numbers."
            )
            drawn = both_widths(charts_compare.difference_chart, part, look, label=label)
            charts.append({"name": name, **drawn})
    return charts


def stages_context(results: Results) -> list[dict[str, Any]]:
    """Return the stages of a run with their time and share of it."""
    if results.summary is None:
        return []
    frame = tables.stages(results.summary)
    return [
        {
            "name": row.stage.replace("_", " "),
            "seconds": row.seconds,
            "share": f"{100 * row.share:.2f}",
        }
        for row in frame.itertuples()
    ]


def paper_grid() -> Grid:
    """Return the paper's Table I."""
    frame = paper_table()
    kinds = {"edge": "edge network", "hw-nas": "found by search", "moenas": "MoENAS"}
    fractions = [name for name in frame.columns if frame[name].dtype == float]
    writers = dict.fromkeys(fractions, lambda v: percent(v, 2))
    writers["parameters_millions"] = lambda v: number(v, 2)
    return plain_grid(
        frame.replace({"category": kinds}),
        "paper-table-1.csv",
        {
            "model": "Model",
            "category": "Kind",
            "accuracy": "Accuracy, %",
            "fairness": "Fairness, %",
            "accuracy_lightest": "Lightest, %",
            "accuracy_darkest": "Darkest, %",
            "robustness": "Robustness, %",
            "overfitting": "Overfitting, pts",
            "parameters_millions": "Size, M",
        },
        writers,
    )
