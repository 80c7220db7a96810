"""What the sections on the search and on pruning show, gathered for the templates."""

from __future__ import annotations

from typing import Any

from markupsafe import Markup

from moenas.report import charts_search, sections, tables
from moenas.report.grid import plain_grid
from moenas.report.measures import millions, percent, size_of
from moenas.report.results import Pruning, SearchSummary, Trial
from moenas.report.theme import NARROW, WIDE


def search_context(trials: tuple[Trial, ...], search: SearchSummary | None) -> dict[str, Any]:
    """Return the trials: Pareto views, table and counts."""
    frame = tables.trials(trials)
    complete = frame.dropna(subset=list(charts_search.OBJECTIVES))
    front = int(frame["on_front"].sum())
    label = (
        f"{len(complete)} trials in every pair of the four objectives and size, {front} of them on "
        "the Pareto front; the table below holds the numbers."
    )
    return {
        "chart": charts_search.pareto_matrix(
            frame, floor=search.accuracy_floor if search else None, label=label
        )
        if len(complete)
        else None,
        "grid": sections.trials_grid(trials),
        "total": len(frame),
        "measured": len(complete),
        "front": front,
        "infeasible": int((~frame["feasible"]).sum()),
        "short": sum(trial.rung is not None for trial in trials),
        "failed": sum(trial.state.upper() in ("FAIL", "FAILED") for trial in trials),
    }


def volume_context(search: SearchSummary) -> dict[str, Any]:
    """Return the progress of the search."""
    frame = tables.hypervolume(search).dropna()

    def draw(width: int) -> Markup:
        return charts_search.line_chart(
            list(frame["finished"]),
            list(frame["hypervolume"]),
            x_label="Finished trials",
            y_label="Hypervolume of the front, search half",
            label=f"Hypervolume over {len(frame)} finished trials, from "
            f"{frame['hypervolume'].iloc[0]:.4g} to {frame['hypervolume'].iloc[-1]:.4g}.",
            width=width,
            tip=lambda x, y: f"After {x:.0f} trials: {y:.4g}",
        )

    return {
        "wide": draw(WIDE),
        "narrow": draw(NARROW),
        "grid": plain_grid(
            frame,
            "hypervolume.csv",
            {"finished": "Finished trials", "hypervolume": "Hypervolume"},
            {"hypervolume": lambda v: f"{v:.5g}"},
        ),
    }


LEAST = {
    "usage": "that the fewest tokens used",
    "gate": "to which the router gave the least probability",
    "output": "whose removal changed its layer's output least",
    "group": "that was used least even by the group that used it most",
}
"""What is said of the expert that goes first, by importance."""


def pruning_context(pruning: Pruning) -> dict[str, Any]:
    """Return the pruning curve, its table and where it ended."""
    frame = tables.pruning(pruning)
    thresholds = pruning.least()
    has_quality = any(frame[key].notna().any() for key in charts_search.PRUNED_MEASURES)
    worst = {"worst_group_accuracy": "Worst group, %"}
    if frame["worst_group_accuracy"].isna().all():
        worst = {}
    label = (
        f"Quality and size of {pruning.model} over {len(pruning.steps)} pruning steps; the table "
        "below holds the numbers."
    )
    return {
        "data": pruning,
        "last": (pruning.start, *pruning.steps)[pruning.kept],
        "thresholds": thresholds,
        "least": LEAST.get(pruning.importance, "that was least needed"),
        "banded": bool(frame[[f"{key}_low" for key in tables.PRUNED]].notna().any(axis=None)),
        "wide": charts_search.pruning_chart(frame, thresholds, label=label, width=WIDE)
        if has_quality
        else None,
        "narrow": charts_search.pruning_chart(frame, thresholds, label=label, width=NARROW)
        if has_quality
        else None,
        "grid": plain_grid(
            frame,
            "pruning.csv",
            {
                "step": "Removed",
                "kept": "Kept",
                "removed_layer": "Layer",
                "removed_expert": "Expert",
                "usage": "Usage, %",
                "parameters": "Size, M",
                "file_bytes": "File",
                "balanced_accuracy": "Balanced accuracy, %",
                "fairness": "Fairness, %",
                "robustness": "Robustness, %",
                "overfitting": "Overfitting, pts",
                **worst,
            },
            {
                "usage": percent,
                "parameters": millions,
                "file_bytes": lambda v: size_of(int(v)),
                "removed_expert": lambda v: f"{v:.0f}",
                **dict.fromkeys((*tables.PRUNED, "worst_group_accuracy"), percent),
            },
        ),
    }
