"""Models as points: size, accuracy, fairness, robustness, overfitting (the paper's Fig. 2 and 8).

Drawings carry no colours; the page's CSS gives them. Whatever belongs to one model carries
``data-model``, so that the page can light it up everywhere.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

import pandas as pd
from markupsafe import Markup

from moenas.report.audit.frames import on_front
from moenas.report.audit.labels import place
from moenas.report.measures import millions, percent, shortened
from moenas.report.svg import Drawing, Scale, finite, known, nice_ticks, size_ticks
from moenas.report.theme import Style

ROOM = 28
"""Letters of a name beside its point; a longer one is cut, and told in whole by a touch."""

TITLES = {
    "balanced_accuracy": "Balanced accuracy, %",
    "fairness": "Fairness, %",
    "robustness": "Accuracy in poor light, %",
    "overfitting": "Overfitting, points",
    "parameters": "Parameters, M",
}
"""The axes by column of `frames.points`."""


@dataclasses.dataclass(frozen=True)
class Panel:
    """One panel: its axes, whether families are joined, and whether all points are named."""

    x: str
    y: str
    families: bool = False
    named: bool = False


FIG_2 = (Panel("parameters", "fairness", families=True, named=True),)
"""Fairness by size."""

FIG_8 = tuple(
    Panel("balanced_accuracy", y, families=y == "fairness")
    for y in ("fairness", "robustness", "overfitting", "parameters")
)
"""What accuracy is paid with."""


def drawable(frame: pd.DataFrame, panels: Sequence[Panel]) -> tuple[Panel, ...]:
    """Return the panels that have at least two models with both values."""
    return tuple(p for p in panels if frame[[p.x, p.y]].notna().all(axis=1).sum() > 1)


def points_chart(
    frame: pd.DataFrame, panels: Sequence[Panel], leader: str, *, label: str, width: int = 1040
) -> Markup:
    """Draw panels of points, two in a row.

    Args:
        frame: `frames.points`.
        panels: `drawable` ones.
        leader: The model that is drawn apart.
        label: For screen readers.
        width: In pixels; below 600 panels stand below each other.
    """
    columns = 1 if width < 600 else min(2, len(panels))
    cell_w, cell_h = width / columns, 330.0 if len(panels) > 1 else 430.0
    rows = math.ceil(len(panels) / columns)
    drawing = Drawing(width, rows * cell_h, label)
    for number, panel in enumerate(panels):
        left, top = cell_w * (number % columns), cell_h * (number // columns)
        box = (left + 46, top + 26, left + cell_w - 16, top + cell_h - 56)
        _panel(drawing, frame.dropna(subset=[panel.x, panel.y]), panel, leader, box)
    return drawing.markup()


def _panel(
    drawing: Drawing,
    frame: pd.DataFrame,
    panel: Panel,
    leader: str,
    box: tuple[float, float, float, float],
) -> None:
    left, top, right, bottom = box
    x, y = _axis(frame, panel.x, (left, right)), _axis(frame, panel.y, (bottom, top))
    for at, tick in x.ticks:
        drawing.line(at, top, at, bottom)
        drawing.text(at, bottom + 17, tick, cls="tick small")
    for at, tick in y.ticks:
        drawing.line(left, at, right, at)
        drawing.text(left - 7, at + 4, tick, cls="tick small", anchor="end")
    drawing.text(left - 38, top - 12, TITLES[panel.y], cls="axis", anchor="start")
    drawing.text((left + right) / 2, bottom + 38, TITLES[panel.x], cls="axis")
    centres = {row.model: (x(getattr(row, panel.x)), y(getattr(row, panel.y)))
               for row in frame.itertuples()}  # fmt: skip
    if panel.families:
        for _, own in frame.groupby("family", sort=False):
            line = [centres[model] for model in own.sort_values(panel.x)["model"]]
            if len(line) > 1:
                drawing.path(line, cls="family")
    front = on_front(frame, panel.x, panel.y)
    line = [centres[model] for model in frame[front].sort_values(panel.x)["model"]]
    drawing.path(line, cls="front-line", dash="5 4")
    for row, best in zip(frame.itertuples(), front, strict=True):
        slot = "lead" if row.model == leader else "best" if best else "plain"
        slot = slot if row.able else "useless"
        group = drawing.add("g", cls=f"series s-{slot}", data_model=row.model)
        cx, cy = centres[row.model]
        low, high = (getattr(row, f"{panel.y}{end}") for end in ("_low", "_high"))
        if known(low) and known(high):
            ends = [min(max(y(value), top), bottom) for value in (low, high)]
            drawing.line(cx, ends[0], cx, ends[1], cls="whisker thin", parent=group)
        drawing.marker(
            cx, cy, Style(slot, "", "D" if row.model == leader else "o", ""), parent=group,
            data_tip=_tip(row),
        )  # fmt: skip
    wanted = [model == leader or bool(best) for model, best in zip(centres, front, strict=True)]
    short = [shortened(model, ROOM) for model in centres]
    spots = place(list(centres.values()), short, wanted, (left, top - 6, right, bottom))
    for model, name, spot, sure in zip(centres, short, spots, wanted, strict=True):
        if spot is not None and (sure or panel.named):
            tx, ty, anchor = spot
            text = drawing.text(tx, ty, name, cls="tick small name", anchor=anchor)
            text.set("data-model", model)


@dataclasses.dataclass(frozen=True)
class _Axis:
    scale: Scale
    ticks: list[tuple[float, str]]
    log: bool

    def __call__(self, value: float) -> float:
        return self.scale(math.log10(value / 1e6) if self.log else 100 * value)


def _axis(frame: pd.DataFrame, name: str, pixels: tuple[float, float]) -> _Axis:
    if name == "parameters":
        sizes = [math.log10(value / 1e6) for value in finite(frame[name])]
        low, high = min(sizes) - 0.08, max(sizes) + 0.08
        scale = Scale((low, high), pixels)
        inside = size_ticks(10**low, 10**high)
        return _Axis(scale, [(scale(math.log10(tick)), f"{tick:g}") for tick in inside], log=True)
    values = [100 * value for value in finite(frame[name])]
    ticks = nice_ticks(min(values), max(values), 5)
    scale = Scale((ticks[0], ticks[-1]), pixels)
    marks = [(scale(tick), percent(tick / 100, 0 if tick % 1 == 0 else 1)) for tick in ticks]
    return _Axis(scale, marks, log=False)


def _tip(row: object) -> str:
    parts = []
    for name, title in TITLES.items():
        value = getattr(row, name)
        if known(value):
            shown = millions(value) if name == "parameters" else percent(value)
            parts.append(f"{title.rpartition(',')[0].lower()} {shown}")
    if not row.able:  # type: ignore[attr-defined]
        parts.append("not shown to be better than guessing")
    return f"{row.model}: " + ", ".join(parts)  # type: ignore[attr-defined]
