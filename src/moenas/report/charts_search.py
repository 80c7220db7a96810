"""Drawings of the progress of a search and of pruning.

One function = one drawing: a data frame in, an inline SVG out. Drawings carry no colours: the
page's CSS gives them, in light, dark and print. Marks that explain themselves on hover carry
``data-tip``.
"""

from __future__ import annotations

import itertools
import math
import xml.etree.ElementTree as ET
from collections.abc import Callable, Mapping, Sequence

import pandas as pd
from markupsafe import Markup

from moenas.report.measures import millions, percent
from moenas.report.svg import Drawing, Scale, finite, known, nice_ticks
from moenas.report.theme import Style


def expert_glyph(experts: Sequence[int], most: int = 8) -> Markup:
    """Draw an architecture as one small bar a layer, as high as it has experts."""
    label = "Experts in each layer: " + ", ".join(str(count) for count in experts)
    bar, height = 5, 18
    drawing = Drawing(max(1, bar * len(experts)), height, label)
    for index, count in enumerate(experts):
        tall = max(2.0, height * min(count, most) / most)
        drawing.add(
            "rect", cls="bar one" if count == 1 else "bar", x=index * bar, y=height - tall,
            width=bar - 1, height=tall,
        )  # fmt: skip
    return drawing.markup()


def line_chart(
    x_values: Sequence[float],
    y_values: Sequence[float],
    *,
    x_label: str,
    y_label: str,
    label: str,
    width: int = 1040,
    tip: Callable[[float, float], str],
) -> Markup:
    """Draw one rising staircase (the hypervolume of the search).

    Args:
        x_values: Finished trials.
        y_values: Hypervolume after each.
        x_label: Under the axis.
        y_label: Above the axis.
        label: For screen readers.
        width: Width in pixels.
        tip: Text of a point, from its x and y.
    """
    height, left, right, top, bottom = 260, 56, 14, 30, 44
    xt = nice_ticks(0, max(x_values), 8 if width > 500 else 5)
    yt = nice_ticks(min(y_values), max(y_values), 5)
    drawing = Drawing(width, height, label)
    x = Scale((0, max(x_values)), (left, width - right))
    y = Scale((yt[0], yt[-1]), (height - bottom, top))
    drawing.text(4, 14, y_label, cls="axis", anchor="start")
    for tick in yt:
        drawing.line(left, y(tick), width - right, y(tick))
        drawing.text(left - 8, y(tick) + 4, f"{tick:.6g}", anchor="end")
    for tick in xt:
        if tick <= max(x_values):
            drawing.text(x(tick), height - bottom + 18, f"{tick:g}")
    drawing.text((left + width - right) / 2, height - 6, x_label, cls="axis")
    data = _rises(x_values, y_values)
    points = [(x(a), y(b)) for a, b in data]
    area = [(points[0][0], y(yt[0])), *points]
    shape = drawing.path(area, cls="area", step=True)
    shape.set("d", f"{shape.get('d')}V{y(yt[0]):.1f}Z")
    drawing.path(points, cls="accent-line", step=True)
    for (px, py), (a, b) in zip(points, data, strict=True):
        drawing.add("circle", cls="hit", cx=px, cy=py, r=5, data_tip=tip(a, b))
    return drawing.markup()


def _rises(x_values: Sequence[float], y_values: Sequence[float]) -> list[tuple[float, float]]:
    """Return the points of a staircase that it needs: the first, each change, the last."""
    points = list(zip(x_values, y_values, strict=True))
    changed = [b for a, b in itertools.pairwise(points) if a[1] != b[1]]
    return [points[0], *changed, *([points[-1]] if points[-1] not in changed else [])]


PRUNED_MEASURES = {
    "balanced_accuracy": ("Balanced accuracy", "one"),
    "fairness": ("Fairness", "two"),
    "robustness": ("Robustness", "three"),
}
"""What the pruning chart follows, with the colour of each."""


def pruning_chart(
    frame: pd.DataFrame, thresholds: Mapping[str, float], *, label: str, width: int = 1040
) -> Markup:
    """Draw the qualities and, below on the same axis, the size, by experts removed (Fig. 9).

    Args:
        frame: `tables.pruning`.
        thresholds: Least allowed value (0-1) by measure; drawn dashed.
        label: For screen readers.
        width: In pixels; below 600 it is drawn for a phone.
    """
    narrow = width < 600
    left, right = (40, 10) if narrow else (52, 160)
    upper, lower, top = 220, 90, 26
    size_top = top + upper + 40
    height = size_top + lower + 42
    drawing = Drawing(width, height, label)
    last = max(1, int(frame["step"].max()))
    x = Scale((0, last), (left, width - right))
    columns = [key for key in PRUNED_MEASURES if frame[key].notna().any()]
    values = [v for key in columns for v in finite(frame[key])]
    values += [thresholds[key] for key in columns if key in thresholds]
    ends = [f"{key}_{end}" for key in columns for end in ("low", "high")]
    values += [v for end in ends if end in frame for v in finite(frame[end])]
    ticks = nice_ticks(100 * min(values), min(100.0, 100 * max(values)), 6)
    y = Scale((ticks[0], ticks[-1]), (top + upper, top))
    drawing.text(4, 14, "Quality on the search half, %", cls="axis", anchor="start")
    for tick in ticks:
        drawing.line(left, y(tick), width - right, y(tick))
        drawing.text(left - 8, y(tick) + 4, f"{tick:g}", anchor="end")
    labels: list[tuple[float, str, str]] = []
    for key in columns:
        name, slot = PRUNED_MEASURES[key]
        group = drawing.add("g", cls=f"series s-{slot}")
        rows = frame.dropna(subset=[key])
        _band(drawing, rows, key, x, y, group)
        if key in thresholds:
            level = y(100 * thresholds[key])
            drawing.line(left, level, width - right, level, cls="whisker", parent=group,
                         stroke_dasharray="2 5",
                         data_tip=f"{name}: at least {percent(thresholds[key])} %")  # fmt: skip
        points = [(x(row.step), y(100 * getattr(row, key))) for row in rows.itertuples()]
        drawing.path(points, cls="trend", parent=group)
        style, dropped = Style(slot, "", "o", ""), Style(slot, "", "X", "")
        for row, (px, py) in zip(rows.itertuples(), points, strict=True):
            look, radius = (style, 3.4) if row.kept else (dropped, 5.5)
            low, high = (getattr(row, f"{key}_{end}", math.nan) for end in ("low", "high"))
            around = f" ({percent(low)} to {percent(high)})" if known(low) and known(high) else ""
            tip = f"{name} after {row.step} removed: {percent(getattr(row, key))} %{around}"
            drawing.marker(px, py, look, size=radius, parent=group, data_tip=tip)
        labels.append((points[-1][1], name, slot))
    if not narrow:
        _end_labels(drawing, labels, width - right + 10)
    sizes = frame.dropna(subset=["parameters"])
    counts = [float(value) / 1e6 for value in sizes["parameters"]]
    size_ticks = nice_ticks(min(counts), max(counts), 3)
    size = Scale((size_ticks[0], size_ticks[-1]), (size_top + lower, size_top))
    drawing.text(4, size_top - 12, "Parameters, M", cls="axis", anchor="start")
    for tick in size_ticks:
        drawing.line(left, size(tick), width - right, size(tick))
        drawing.text(left - 8, size(tick) + 4, f"{tick:g}", anchor="end")
    steps = [(x(step), size(value)) for step, value in zip(sizes["step"], counts, strict=True)]
    drawing.path(steps, cls="accent-line")
    for row, value in zip(sizes.itertuples(), counts, strict=True):
        removed = ""
        if row.step > 0 and row.removed_layer is not None and known(row.removed_expert):
            removed = f"; removed expert {row.removed_expert:.0f} of layer {row.removed_layer}"
        drawing.add(
            "circle", cls="size-point", cx=x(row.step), cy=size(value), r=3.2,
            data_tip=f"Step {row.step}: {millions(row.parameters)} M parameters{removed}",
        )  # fmt: skip
    for tick in nice_ticks(0, last, 5 if narrow else 10):
        if 0 <= tick <= last and float(tick).is_integer():
            drawing.text(x(tick), size_top + lower + 18, f"{tick:g}")
    drawing.text((left + width - right) / 2, height - 6, "Experts removed", cls="axis")
    return drawing.markup()


def _band(
    drawing: Drawing, rows: pd.DataFrame, key: str, x: Scale, y: Scale, parent: ET.Element
) -> None:
    """Fill between the ends of a quality's intervals, where they are known."""
    low, high = f"{key}_low", f"{key}_high"
    if not {low, high} <= set(rows.columns):
        return
    known_rows = rows.dropna(subset=[low, high])
    if len(known_rows) < 2:
        return
    upper = [(x(row.step), y(100 * getattr(row, high))) for row in known_rows.itertuples()]
    lower = [(x(row.step), y(100 * getattr(row, low))) for row in known_rows.itertuples()]
    shape = drawing.path([*upper, *reversed(lower)], cls="band", parent=parent)
    shape.set("d", f"{shape.get('d')}Z")


def _end_labels(drawing: Drawing, ends: list[tuple[float, str, str]], x: float) -> None:
    """Write each line's name at its end, pushed apart where they would touch."""
    previous = -math.inf
    for y, name, slot in sorted(ends):
        y = max(y, previous + 16)
        drawing.text(x, y + 4, name, cls=f"axis label-{slot}", anchor="start")
        previous = y
