"""Accuracy over skin tones, a panel a model (the paper's Fig. 7)."""

from __future__ import annotations

import math
import xml.etree.ElementTree as ET
from collections.abc import Collection

import pandas as pd
from markupsafe import Markup

from moenas.report.measures import percent, shortened
from moenas.report.svg import Drawing, Scale, finite, known, nice_ticks
from moenas.report.theme import MONK_SCALE, Style

MEAN = "mean of the models"
"""Title of the first panel, and the thin line in the others."""


def tone_panels(
    frame: pd.DataFrame,
    leader: str,
    useless: Collection[str] = (),
    *,
    label: str,
    width: int = 1040,
) -> Markup:
    """Draw one small panel a model, all on the same scale; the first has the mean of all.

    Args:
        frame: `tables.tones`.
        leader: The model that is drawn apart.
        useless: Models that the mean leaves out: level lines that say nothing.
        label: For screen readers.
        width: In pixels; below 600 two panels stand side by side, else four.
    """
    columns = 2 if width < 600 else 4
    models = list(dict.fromkeys(frame["model"]))
    mean = mean_by_tone(frame, useless)
    titles = [MEAN, *models] if len(models) > 1 else models
    cell_w, cell_h = width / columns, 176.0
    drawing = Drawing(width, math.ceil(len(titles) / columns) * cell_h, label)
    values = [100 * value for name in ("mean", "low", "high") for value in finite(frame[name])]
    ticks = nice_ticks(min(values), min(100.0, max(values)), 4)
    groups = sorted(set(frame["category"]))
    for number, title in enumerate(titles):
        left, top = cell_w * (number % columns), cell_h * (number // columns)
        first = number % columns == 0
        x = Scale((0, max(1, len(groups) - 1)), (left + 44, left + cell_w - 18))
        y = Scale((ticks[0], ticks[-1]), (top + cell_h - 40, top + 30))
        for tick in ticks:
            drawing.line(left + 34, y(tick), left + cell_w - 8, y(tick))
            if first:
                drawing.text(left + 28, y(tick) + 4, f"{tick:g}", cls="tick small", anchor="end")
        _swatches(drawing, groups, x, top + cell_h - 30)
        average = [(x(groups.index(group)), y(100 * value)) for group, value in mean.items()]
        if title == MEAN:
            _title(drawing, title, mean, left + 34, top + 16, cell_w - 34)
            drawing.path(average, cls="mean-line bold")
            for group, (px, py) in zip(mean.index, average, strict=True):
                drawing.add(
                    "circle", cls="hit", cx=px, cy=py, r=7,
                    data_tip=f"mean, tone {group}: {percent(mean[group])} %",
                )  # fmt: skip
            continue
        if len(models) > 1:
            drawing.path(average, cls="mean-line")
        rows = frame[frame["model"] == title].dropna(subset=["mean"])
        slot = "useless" if title in useless else "lead" if title == leader else "plain"
        group = drawing.add("g", cls=f"series s-{slot}", data_model=title)
        drawing.add(
            "rect", group, cls="hit", x=left + 30, y=top, width=cell_w - 34, height=cell_h - 30
        )
        _title(
            drawing,
            title,
            rows.set_index("category")["mean"],
            left + 34,
            top + 16,
            cell_w - 34,
            parent=group,
        )
        _band(drawing, rows, groups, x, y, group)
        line = [(x(groups.index(row.category)), y(100 * row.mean)) for row in rows.itertuples()]
        drawing.path(line, cls="trend", parent=group)
        for row, (px, py) in zip(rows.itertuples(), line, strict=True):
            interval = ""
            if known(row.low) and known(row.high):
                interval = f" ({percent(row.low)} to {percent(row.high)})"
            drawing.marker(
                px, py, Style(slot, "", "o", ""), size=3.0, parent=group,
                data_tip=f"{title}, tone {row.category}: {percent(row.mean)} %{interval}, "
                f"{row.n} images",
            )  # fmt: skip
    return drawing.markup()


def mean_by_tone(frame: pd.DataFrame, useless: Collection[str]) -> pd.Series:
    """Return the models' mean accuracy by tone; of all where all are useless.

    Args:
        frame: `tables.tones`.
        useless: Models that are left out.
    """
    kept = frame[~frame["model"].isin(list(useless))]
    return (kept if len(kept) else frame).groupby("category", sort=True)["mean"].mean()


def _title(
    drawing: Drawing,
    name: str,
    by_group: pd.Series,
    x: float,
    y: float,
    width: float,
    parent: ET.Element | None = None,
) -> None:
    gap = by_group.iloc[0] - by_group.iloc[-1]
    short = shortened(name, int((width - 60) / 7.2))
    drawing.text(x, y, short, cls="panel small-panel", anchor="start", parent=parent)
    drawing.text(
        x + width - 12, y, f"Δ {percent(gap, signed=True)}", cls="tick small", anchor="end",
        data_tip="Lightest minus darkest tone, points", parent=parent,
    )  # fmt: skip


def _band(
    drawing: Drawing, rows: pd.DataFrame, groups: list[int], x: Scale, y: Scale, parent: ET.Element
) -> None:
    known_rows = rows.dropna(subset=["low", "high"])
    if len(known_rows) < 2:
        return
    upper = [(x(groups.index(r.category)), y(100 * r.high)) for r in known_rows.itertuples()]
    lower = [(x(groups.index(r.category)), y(100 * r.low)) for r in known_rows.itertuples()]
    outline = [*upper, *reversed(lower)]
    shape = drawing.path(outline, cls="band", parent=parent)
    shape.set("d", f"{shape.get('d')}Z")


def _swatches(drawing: Drawing, groups: list[int], x: Scale, y: float) -> None:
    slot = (x.end - x.start) / max(1, len(groups) - 1)
    size = min(16.0, slot * 0.7)
    for index, group in enumerate(groups):
        if len(groups) == len(MONK_SCALE) and group in MONK_SCALE:
            drawing.add(
                "rect", cls="swatch", x=x(index) - size / 2, y=y, width=size, height=9.0, rx=2,
                fill=MONK_SCALE[group], data_tip=f"tone {group}",
            )  # fmt: skip
        else:
            drawing.text(x(index), y + 9, str(group), cls="tick small")
