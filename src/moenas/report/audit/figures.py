"""The audit's figures for print: one function = one figure, a data frame in, a matplotlib one out.

They start from the same frames (`frames`) as the page.
"""

from __future__ import annotations

import math
from collections.abc import Collection

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import NullLocator

from moenas.report import tables
from moenas.report.audit import frames
from moenas.report.audit.charts_points import FIG_2, FIG_8, TITLES, Panel, drawable
from moenas.report.audit.charts_tones import mean_by_tone
from moenas.report.audit.labels import LETTER, place
from moenas.report.audit.results import AuditResults
from moenas.report.print_style import COLUMN, PAGE, PRINT_STYLE, plain
from moenas.report.results import Comparison
from moenas.report.svg import size_ticks
from moenas.report.theme import MONK_SCALE

NARROW_LETTER = 3.0
"""About the width of a letter of the smallest type, in points."""

INK, GREY, BLUE, GREEN, ORANGE = "#171b20", "#8b96a1", "#0072b2", "#009e73", "#c77700"


@mpl.rc_context(PRINT_STYLE)
def robustness_and_generalisation(frame: pd.DataFrame) -> Figure:
    """Draw each model's accuracy on validation, report and poorly lit images (Fig. 1a).

    Args:
        frame: `frames.lights`.
    """
    figure = Figure(figsize=(PAGE / 2, 0.6 + 0.2 * len(frame)), layout="constrained")
    axes = figure.subplots()
    place = np.arange(len(frame))[::-1]
    axes.hlines(
        place,
        100 * frame[["validation", "report", "poor"]].min(axis=1),
        100 * frame[["validation", "report", "poor"]].max(axis=1),
        color="#d5dade",
        linewidth=2.2,
    )
    half = [100 * (frame["report"] - frame["low"]), 100 * (frame["high"] - frame["report"])]
    axes.errorbar(
        100 * frame["report"], place, xerr=half, fmt="D", color=BLUE, elinewidth=0.8,
        markersize=3.6, label="report half",
    )  # fmt: skip
    if frame["validation"].notna().any():
        axes.plot(100 * frame["validation"], place, "o", color=INK, markersize=3.4, mfc="white",
                  label="validation")  # fmt: skip
    if frame["poor"].notna().any():
        axes.plot(100 * frame["poor"], place, "v", color=ORANGE, markersize=4, label="poor light")
    axes.set_yticks(place, [plain(name) for name in frame["model"]])
    axes.set_xlabel("Balanced accuracy (%)")
    axes.grid(visible=False, axis="y")
    figure.legend(ncols=3, loc="outside upper center", handletextpad=0.3, columnspacing=1.0)
    return figure


@mpl.rc_context(PRINT_STYLE)
def mean_accuracy_per_tone(frame: pd.DataFrame, useless: Collection[str] = ()) -> Figure:
    """Draw the models' mean accuracy on each tone, each model thin behind it (Fig. 1b).

    Args:
        frame: `tables.tones`.
        useless: Models that the mean leaves out.
    """
    figure = Figure(figsize=(COLUMN, 2.2), layout="constrained")
    axes = figure.subplots()
    groups = sorted(set(frame["category"]))
    for _, rows in frame.groupby("model", sort=False):
        x = [groups.index(group) for group in rows["category"]]
        axes.plot(x, 100 * rows["mean"], color="#c9ced3", linewidth=0.7)
    mean = mean_by_tone(frame, useless)
    axes.plot(range(len(groups)), 100 * mean.to_numpy(), "o-", color=BLUE, linewidth=1.6)
    for at, name in ((0, "left"), (len(groups) - 1, "right")):
        value = 100 * mean.iloc[at]
        axes.annotate(
            f"{value:.1f}", (at, value), xytext=(0, 6), textcoords="offset points", ha=name
        )
    _tone_axis(axes, groups)
    axes.set_ylabel("Accuracy (%)")
    return figure


@mpl.rc_context(PRINT_STYLE)
def size_and_fairness(frame: pd.DataFrame) -> Figure:
    """Draw fairness by size, families joined, the front dashed (Fig. 2).

    Args:
        frame: `frames.points`.
    """
    return _points(frame, drawable(frame, FIG_2), COLUMN * 1.3, 2.7)


@mpl.rc_context(PRINT_STYLE)
def pareto_panels(frame: pd.DataFrame) -> Figure:
    """Draw fairness, robustness, overfitting and size by accuracy, fronts dashed (Fig. 8).

    Args:
        frame: `frames.points`.
    """
    return _points(frame, drawable(frame, FIG_8), PAGE, 4.6)


@mpl.rc_context(PRINT_STYLE)
def accuracy_per_tone_panels(frame: pd.DataFrame, useless: Collection[str] = ()) -> Figure:
    """Draw accuracy on each tone with its interval, a panel a model (Fig. 7).

    Args:
        frame: `tables.tones`.
        useless: Models that the mean leaves out.
    """
    models = list(dict.fromkeys(frame["model"]))
    mean = mean_by_tone(frame, useless)
    groups = sorted(set(frame["category"]))
    columns = min(4, len(models) + 1)
    rows = math.ceil((len(models) + 1) / columns)
    figure = Figure(figsize=(PAGE, 0.3 + 1.25 * rows), layout="constrained")
    panels = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False).ravel()
    for letter, (axes, model) in enumerate(zip(panels, [None, *models], strict=False)):
        axes.plot(range(len(groups)), 100 * mean.to_numpy(), color=INK if model is None else GREY,
                  linewidth=1.4 if model is None else 0.7)  # fmt: skip
        name = "mean"
        if model is not None:
            own, name = frame[frame["model"] == model], plain(model)
            x = [groups.index(group) for group in own["category"]]
            axes.fill_between(x, 100 * own["low"], 100 * own["high"], color=BLUE, alpha=0.18, lw=0)
            axes.plot(x, 100 * own["mean"], "o-", color=BLUE, markersize=2, linewidth=1)
        axes.set_title(f"({chr(97 + letter % 26)}) {name}", fontsize=7, loc="left")
        _tone_axis(axes, groups, labels=False)
    for axes in panels[len(models) + 1 :]:
        axes.set_visible(False)
    figure.supylabel("Accuracy (%)", fontsize=8)
    figure.supxlabel("Skin tone, lightest first", fontsize=8)
    return figure


@mpl.rc_context(PRINT_STYLE)
def degradation_curves(frame: pd.DataFrame) -> Figure:
    """Draw balanced accuracy by severity, the first model apart.

    Args:
        frame: `frames.curves`, the model to point out first.
    """
    figure = Figure(figsize=(COLUMN, 2.4), layout="constrained")
    axes = figure.subplots()
    for number, (model, rows) in enumerate(frame.groupby("model", sort=False)):
        axes.plot(
            rows["severity"], 100 * rows["value"], "-" if number else "D-",
            color=GREY if number else BLUE, linewidth=0.8 if number else 1.5,
            zorder=2 if number else 3, label=None if number else plain(str(model)),
        )  # fmt: skip
    axes.set_xlabel("Severity")
    axes.set_ylabel("Balanced accuracy (%)")
    axes.legend(loc="best")
    return figure


def audit_figures(audit: AuditResults) -> dict[str, Figure]:
    """Return the figures that an audit has data for, by file name."""
    models = audit.compared
    points, tones = frames.points(models), tables.tones(Comparison(models))
    useless = {model.name for model in models if not model.able}
    found = {"robustness-and-generalisation": robustness_and_generalisation(frames.lights(models))}
    if drawable(points, FIG_2):
        found["size-and-fairness"] = size_and_fairness(points)
    if drawable(points, FIG_8):
        found["pareto-panels"] = pareto_panels(points)
    if tones["mean"].notna().any():
        found["mean-accuracy-per-tone"] = mean_accuracy_per_tone(tones, useless)
        found["accuracy-per-tone-panels"] = accuracy_per_tone_panels(tones, useless)
    for corruption in audit.degradation["corruption"].unique():
        curves = frames.curves(audit, corruption)
        first = curves.sort_values("model", key=lambda name: name != audit.leader, kind="stable")
        found[f"degradation-{corruption}"] = degradation_curves(first)
    return found


def _points(frame: pd.DataFrame, panels: tuple[Panel, ...], width: float, height: float) -> Figure:
    figure = Figure(figsize=(width, height), layout="constrained")
    columns = min(2, len(panels))
    grid = figure.subplots(math.ceil(len(panels) / columns), columns, squeeze=False).ravel()
    drawn = [frame.dropna(subset=[panel.x, panel.y]) for panel in panels]
    for axes, part, panel in zip(grid, drawn, panels, strict=False):
        _panel(axes, part, panel)
    for axes in grid[len(panels) :]:
        axes.set_visible(False)
    figure.draw_without_rendering()  # places the axes, so that names know their room
    for axes, part, panel in zip(grid, drawn, panels, strict=False):
        _names(axes, part, panel)
    return figure


def _names(axes: Axes, frame: pd.DataFrame, panel: Panel) -> None:
    """Name the points where there is room, those of the front in any case."""
    front = frames.on_front(frame, panel.x, panel.y)
    scale = {name: 1e-6 if name == "parameters" else 100.0 for name in (panel.x, panel.y)}
    data = np.stack([frame[name] * scale[name] for name in (panel.x, panel.y)], axis=1)
    fine = LETTER / NARROW_LETTER * 72 / axes.figure.dpi  # from pixels to `place`'s units
    spots = axes.transData.transform(data) * fine
    box = axes.get_window_extent()
    edges = (box.x0 * fine, -box.y1 * fine, box.x1 * fine, -box.y0 * fine)
    names = [plain(name) for name in frame["model"]]
    found = place([(x, -y) for x, y in spots], names, list(front), edges)
    points = NARROW_LETTER / LETTER
    for name, spot, point, (x, y), best in zip(names, found, data, spots, front, strict=True):
        if spot is not None and (best or panel.named):
            axes.annotate(
                name, (float(point[0]), float(point[1])),
                xytext=((spot[0] - x) * points, (-spot[1] - y) * points),
                textcoords="offset points",
                ha={"start": "left", "end": "right", "middle": "center"}[spot[2]],
                fontsize=5.5, color=INK if best else "#5b6470",
            )  # fmt: skip


def _panel(axes: Axes, frame: pd.DataFrame, panel: Panel) -> None:
    scale = {name: 1e-6 if name == "parameters" else 100.0 for name in (panel.x, panel.y)}
    x, y = frame[panel.x] * scale[panel.x], frame[panel.y] * scale[panel.y]
    if panel.families:
        for _, own in frame.groupby("family", sort=False):
            own = own.sort_values(panel.x)
            if len(own) > 1:
                axes.plot(x[own.index], y[own.index], "-", color=GREY, linewidth=0.8, zorder=1)
    front = frames.on_front(frame, panel.x, panel.y)
    edge = frame[front].sort_values(panel.x).index
    axes.plot(x[edge], y[edge], "--", color=GREEN, linewidth=1.0, zorder=1)
    if f"{panel.y}_low" in frame and frame[f"{panel.y}_low"].notna().any():
        low, high = (frame[f"{panel.y}{end}"] * scale[panel.y] for end in ("_low", "_high"))
        limits = y.min() - 0.1 * np.ptp(y), y.max() + 0.12 * np.ptp(y)
        axes.vlines(x, low, high, color=GREY, linewidth=0.5, alpha=0.5, zorder=1)
        if limits[1] > limits[0]:
            axes.set_ylim(*limits)
    colours, hollow = np.where(front, GREEN, "#5b6470"), ~frame["able"].to_numpy(dtype=bool)
    axes.scatter(
        x, y, s=14, c=np.where(hollow, "#ffffff", colours), edgecolors=list(colours),
        linewidths=0.8, zorder=2,
    )  # fmt: skip
    for name, axis, rescale in (
        (panel.x, axes.xaxis, axes.set_xscale),
        (panel.y, axes.yaxis, axes.set_yscale),
    ):
        title, _, unit = TITLES[name].rpartition(", ")
        axis.set_label_text(f"{title} ({unit})")
        if name == "parameters":
            rescale("log")
            values = frame["parameters"] / 1e6
            ticks = size_ticks(values.min() * 0.8, values.max() * 1.25)
            axis.set_ticks(ticks, [f"{tick:g}" for tick in ticks])
            axis.set_minor_locator(NullLocator())


def _tone_axis(axes: Axes, groups: list[int], *, labels: bool = True) -> None:
    axes.set_xticks(range(len(groups)), [str(group) if labels else "" for group in groups])
    axes.tick_params(axis="x", length=0)
    axes.grid(visible=False, axis="x")
    if labels:
        axes.set_xlabel("Skin tone, lightest first")
    for index, group in enumerate(groups):
        if len(groups) == len(MONK_SCALE) and group in MONK_SCALE:
            axes.add_patch(
                Rectangle(
                    (index - 0.35, 0.0), 0.7, 0.045, transform=axes.get_xaxis_transform(),
                    facecolor=MONK_SCALE[group], edgecolor="#5b6470", linewidth=0.3, zorder=4,
                )
            )  # fmt: skip
