"""The paper's figures for print: one function = one figure, a data frame in, a matplotlib one out.

They start from the same frames (`tables`) as the web page. `save_figures` writes them to the run.
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, get_args

import matplotlib as mpl
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from moenas.atomic import write_bytes
from moenas.errors import ConfigError
from moenas.report import tables
from moenas.report.audit.figures import audit_figures
from moenas.report.audit.results import read_audit
from moenas.report.figure_pruning import pruning_study
from moenas.report.figure_routes import routes_figures
from moenas.report.print_style import PAGE, PRINT_STYLE, plain
from moenas.report.results import Results, read_results
from moenas.report.theme import LIGHT_LABELS, MONK_SCALE, Style, styles
from moenas.runs import RunFolder

Format = Literal["pdf", "png", "svg"]

FORMATS: tuple[Format, ...] = get_args(Format)
"""What `save_figures` can write."""

FRONT = {
    "fairness": ("Fairness (%)", 100.0),
    "robustness": ("Robustness (%)", 100.0),
    "parameters": ("Parameters (M)", 1e-6),
}
"""What the front is drawn in against balanced accuracy: label and scale by column of a trial."""


@mpl.rc_context(PRINT_STYLE)
def accuracy_per_tone(frame: pd.DataFrame, look: Mapping[str, Style]) -> Figure:
    """Draw accuracy over the ten Monk tones with intervals, a line a model (the paper's Fig. 7).

    Args:
        frame: `tables.tones`.
        look: Style by model name.
    """
    figure, axes = _figure(PAGE, 2.9)
    categories = sorted(set(frame["category"]))
    _dodged(axes, frame, look, categories, connect=True)
    axes.set_xlabel("Skin tone (Monk scale)")
    axes.set_ylabel("Accuracy (%)")
    axes.set_xticks(range(len(categories)), [str(category) for category in categories])
    for index, category in enumerate(categories):
        if category in MONK_SCALE:
            swatch = Rectangle(
                (index - 0.3, 0.0), 0.6, 0.035, transform=axes.get_xaxis_transform(),
                facecolor=MONK_SCALE[category], edgecolor="#5b6470", linewidth=0.4, zorder=4,
            )  # fmt: skip
            axes.add_patch(swatch)
    _legend(figure, len(look))
    return figure


@mpl.rc_context(PRINT_STYLE)
def accuracy_per_light(frame: pd.DataFrame, look: Mapping[str, Style]) -> Figure:
    """Draw balanced accuracy in the four lights with intervals.

    Args:
        frame: `tables.lights`.
        look: Style by model name.
    """
    figure, axes = _figure(PAGE, 2.6)
    present = set(frame["category"])
    categories = [light for light in LIGHT_LABELS if light in present]
    categories += sorted(present.difference(categories))
    _dodged(axes, frame, look, categories, connect=False)
    axes.set_ylabel("Balanced accuracy (%)")
    axes.set_xticks(range(len(categories)), [LIGHT_LABELS.get(c, c) for c in categories])
    _legend(figure, len(look))
    return figure


@mpl.rc_context(PRINT_STYLE)
def pareto_front(frame: pd.DataFrame) -> Figure:
    """Draw fairness, robustness and size against balanced accuracy, the front filled (Fig. 8).

    A panel shows the trials that have both of its values.

    Args:
        frame: `tables.trials` with any of `front_panels`; search-half numbers, one seed a trial.
    """
    drawn = front_panels(frame)
    figure = Figure(figsize=(PAGE * len(drawn) / len(FRONT), 2.4), layout="constrained")
    panels = figure.subplots(1, len(drawn), squeeze=False)[0]
    looks: dict[str, dict[str, Any]] = {
        "infeasible": {"facecolors": "none", "edgecolors": "#9aa3ac", "s": 12},
        "feasible": {"color": "#b3bac1", "s": 12},
        "on the front": {"color": "#0072b2", "s": 20, "zorder": 3},
    }
    handles = {}
    for axes, key in zip(panels, drawn, strict=True):
        label, factor = FRONT[key]
        data = frame.dropna(subset=["balanced_accuracy", key])
        groups = (
            data[~data["feasible"]],
            data[data["feasible"] & ~data["on_front"]],
            data[data["on_front"]],
        )
        for (name, look), part in zip(looks.items(), groups, strict=True):
            if len(part):
                handles[name] = axes.scatter(
                    part["balanced_accuracy"] * 100,
                    part[key].astype(float) * factor,
                    linewidths=0.7,
                    label=name,
                    **look,
                )
        axes.set_xlabel("Balanced accuracy (%)")
        axes.set_ylabel(label)
    shown = [name for name in looks if name in handles]
    figure.legend(
        [handles[name] for name in shown], shown, ncols=len(drawn), loc="outside upper center",
        handletextpad=0.2,
    )  # fmt: skip
    return figure


def front_panels(frame: pd.DataFrame) -> list[str]:
    """Return which of `FRONT` any trial has besides its balanced accuracy.

    Data without groups have no fairness, and data without poor light no robustness.
    """
    known = frame["balanced_accuracy"].notna()
    return [key for key in FRONT if (known & frame[key].notna()).any()]


def save_figures(run: RunFolder, format: str = "pdf") -> list[Path]:
    """Write the figures that the run has data for into its folder ``figures``.

    Args:
        run: A run folder that exists.
        format: One of `FORMATS`.

    Returns:
        The files, named after their figures; equal results give equal bytes.

    Raises:
        ConfigError: The format is unknown.
        RunFolderError: A file is damaged, or there is nothing to report yet.
    """
    if format not in FORMATS:
        raise ConfigError(f"There is no figure format '{format}'. Known: {', '.join(FORMATS)}.")
    kind = run.read_config()["kind"]
    if kind == "audit":
        figures = audit_figures(read_audit(run))
    elif kind == "routes":
        figures = routes_figures(run)
    else:
        figures = _search_figures(read_results(run))
    paths = []
    for name, figure in figures.items():
        path = run.figures / f"{name}.{format}"
        write_bytes(path, encode(figure, format))
        paths.append(path)
    return paths


def _search_figures(results: Results) -> dict[str, Figure]:
    figures: dict[str, Figure] = {}
    if results.comparison:
        look = styles(results.comparison.models)
        tones, lights = tables.tones(results.comparison), tables.lights(results.comparison)
        if tones["mean"].notna().any():
            figures["accuracy-per-tone"] = accuracy_per_tone(tones, look)
        if lights["mean"].notna().any():
            figures["accuracy-per-light"] = accuracy_per_light(lights, look)
    if results.trials and front_panels(trials := tables.trials(results.trials)):
        figures["pareto-front"] = pareto_front(trials)
    if results.pruning:
        curve = tables.pruning(results.pruning)
        figures["pruning-curve"] = pruning_study(curve, results.pruning.least())
    return figures


def encode(figure: Figure, kind: str) -> bytes:
    """Return a figure as a file of one of `FORMATS`; equal figures give equal bytes."""
    dates: dict[str, dict[str, Any]] = {
        "pdf": {"CreationDate": None},
        "svg": {"Date": None},
        "png": {},
    }
    buffer = io.BytesIO()
    with mpl.rc_context(PRINT_STYLE):
        figure.savefig(buffer, format=kind, metadata=dates[kind])
    return buffer.getvalue()


def _figure(width: float, height: float) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(width, height), layout="constrained")
    return figure, figure.subplots()


def _dodged(
    axes: Axes,
    frame: pd.DataFrame,
    look: Mapping[str, Style],
    categories: list[Any],
    *,
    connect: bool,
) -> None:
    models = list(dict.fromkeys(frame["model"]))
    position = {category: index for index, category in enumerate(categories)}
    step = 0.62 / max(1, len(models))
    for index, model in enumerate(models):
        style = look[model]
        part = frame[frame["model"] == model].dropna(subset=["mean"])
        part = part.assign(x=part["category"].map(position)).sort_values("x")
        x = part["x"] + (index - (len(models) - 1) / 2) * step
        mean = part["mean"] * 100
        low, high = part["low"].fillna(part["mean"]) * 100, part["high"].fillna(part["mean"]) * 100
        line = "none" if not connect else (":" if style.dash else "-")
        axes.errorbar(
            x, mean, yerr=[(mean - low).clip(lower=0), (high - mean).clip(lower=0)],
            fmt=style.marker, linestyle=line, color=style.colour, elinewidth=0.7,
            markerfacecolor="white" if style.slot == "base" else style.colour,
            label=plain(model),
        )  # fmt: skip
    axes.grid(visible=False, axis="x")


def _legend(figure: Figure, models: int) -> None:
    figure.legend(ncols=min(models, 4), loc="outside upper center", columnspacing=1.2)
