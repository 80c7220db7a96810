"""What the sections on the search and on pruning show, gathered for the templates."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup

from moenas.report import charts_search, charts_trials, sections, tables, trial_data
from moenas.report.charts_compare import legend_mark
from moenas.report.grid import plain_grid
from moenas.report.measures import millions, percent, size_of
from moenas.report.results import Pruning, Results, SearchSummary
from moenas.report.theme import Style, both_widths
from moenas.report.trial_axes import OBJECTIVES, Axis, drawable, kinds, sample
from moenas.report.trial_data import descent, ordered, script_json


def search_context(results: Results, look: Mapping[str, Style]) -> dict[str, Any]:
    """Return the trials: drawings, table, counts and what the page's script reads.

    Args:
        results: With at least one trial.
        look: Style by model name, so that finalists look as on the rest of the page.
    """
    trials = ordered(results.trials or ())
    frame = tables.trials(trials)
    axes, drawn = drawable(frame)
    models = descent(trials, results.comparison, results.pruning)
    columns = trial_data.columns(trials, frame)
    front = int(frame["on_front"].sum())
    context: dict[str, Any] = {
        "axes": axes,
        "grid": sections.trials_grid(trials, columns),
        "total": len(frame),
        "measured": int(frame[[axis.key for axis in OBJECTIVES]].notna().all(axis=1).sum()),
        "drawn": len(drawn),
        "sampled": len(sample(drawn)),
        "front": front,
        "infeasible": int((~frame["feasible"]).sum()),
        "short": sum(trial.rung is not None for trial in trials),
        "failed": sum(trial.state.upper() in ("FAIL", "FAILED") for trial in trials),
        "matrix": None,
        "parallel": None,
        "data": script_json(columns, axes, drawn, kinds(drawn), models),
        "tries": _tries(axes) if len(drawn) >= 20 else [],
    }
    if axes:
        finalists = {
            model.name: (models[model.name], look[model.name])
            for model in (results.comparison.models if results.comparison else ())
            if model.role == "finalist" and models.get(model.name) in drawn.index
        }
        search = results.summary.search if results.summary else None
        names = ", ".join(axis.label.lower() for axis in axes)
        label = (
            f"{len(drawn)} trials in {names}, {front} of them on the Pareto front; the table below "
            "holds the numbers."
        )
        context["matrix"] = charts_trials.pareto_matrix(
            drawn, axes, finalists, floor=search.accuracy_floor if search else None, label=label
        )
        context["parallel"] = both_widths(
            charts_trials.parallel_axes, drawn, axes, finalists, label=label
        )
        context["finalists"] = [
            {"name": name, "slot": style.slot, "mark": legend_mark(style)}
            for name, (_, style) in finalists.items()
        ]
    return context


def _tries(axes: Sequence[Axis]) -> list[dict[str, Any]]:
    """Return choices to begin with: an axis and the share of trials at its better end."""
    offers = {
        "balanced_accuracy": ("Most accurate tenth", 0.1),
        "fairness": ("Fairest tenth", 0.1),
        "robustness": ("Most robust tenth", 0.1),
        "parameters": ("Smaller half", 0.5),
    }
    return [
        {
            "axis": index,
            "text": offers[axis.key][0],
            "share": offers[axis.key][1],
            "low": axis.smaller_is_better,
        }
        for index, axis in enumerate(axes)
        if axis.key in offers
    ]


def volume_context(search: SearchSummary) -> dict[str, Any] | None:
    """Return the progress of the search, None where it has fewer than two points."""
    frame = tables.hypervolume(search).dropna()
    if len(frame) < 2:
        return None
    rises = frame[frame["hypervolume"].diff() != 0]

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
        **both_widths(draw),
        "rises": len(rises),
        "grid": plain_grid(
            rises,
            "hypervolume.csv",
            {"finished": "Finished trials", "hypervolume": "Hypervolume"},
            {"hypervolume": lambda v: f"{v:.5g}"},
            download=frame,
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
        **(
            both_widths(charts_search.pruning_chart, frame, thresholds, label=label)
            if has_quality
            else {"wide": None, "narrow": None}
        ),
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
