"""Drawings of all trials of a search: parallel coordinates and a matrix of scatter plots.

One function = one drawing: a data frame in, an inline SVG out. The SVG holds the axes, the
finalists and a sample of the trials; where scripts run, ``trials.js`` reads the places of the axes
from it and draws every trial on a canvas behind it instead of the sample.
"""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Mapping, Sequence

import pandas as pd
from markupsafe import Markup

from moenas.report.measures import percent
from moenas.report.svg import Drawing, Scale, known
from moenas.report.theme import WIDE, Style
from moenas.report.trial_axes import Axis, kinds, sample

Finalists = Mapping[str, tuple[int, Style]]
"""By model name: the row of the trial that it descends from, and how the model is drawn."""

_ORDER = ("infeasible", "plain", "front")
PAD = 8
"""Pixels between the frame of a scatter plot and the ends of its axes; ``trials.js`` has it too."""


def pareto_matrix(
    frame: pd.DataFrame,
    axes: Sequence[Axis],
    finalists: Finalists,
    *,
    floor: float | None,
    label: str,
) -> Markup:
    """Draw the trials in every pair of axes (lower triangle).

    Args:
        frame: The trials to be drawn, see `trial_axes.drawable`.
        axes: At least two.
        finalists: Drawn with the marks that they have on the rest of the page.
        floor: Least balanced accuracy of a feasible trial, drawn as a line; None = none.
        label: For screen readers.
    """
    count = len(axes) - 1
    gap, left, bottom, cell_h = 14, 58, 46, 156
    cell_w = min(480, (WIDE - left) // count - gap)
    drawing = Drawing(WIDE, count * (cell_h + gap) + bottom, label)
    ticks = {axis.key: axis.ticks(frame) for axis in axes}
    drawn = sample(frame)
    for row, column in ((r, c) for r in range(count) for c in range(r + 1)):
        x_axis, y_axis = axes[column], axes[row + 1]
        x0, y0 = left + column * (cell_w + gap), row * (cell_h + gap) + 6
        xt, yt = ticks[x_axis.key], ticks[y_axis.key]
        x = Scale((xt[0], xt[-1]), (x0 + PAD, x0 + cell_w - PAD))
        y = Scale((yt[0], yt[-1]), (y0 + cell_h - PAD, y0 + PAD))
        panel = drawing.add("g", cls="cell", data_x=column, data_y=row + 1)
        drawing.add("rect", panel, cls="frame", x=x0, y=y0, width=cell_w, height=cell_h, rx=6)
        for tick in xt:
            drawing.line(x(tick), y0 + 1, x(tick), y0 + cell_h - 1, parent=panel)
        for tick in yt:
            drawing.line(x0 + 1, y(tick), x0 + cell_w - 1, y(tick), parent=panel)
        if row == count - 1:
            for tick in xt:
                drawing.text(x(tick), y0 + cell_h + 15, _plain(tick), cls="tick small")
            drawing.text(x0 + cell_w / 2, y0 + cell_h + 34, _better(x_axis), cls="axis")
        if column == 0:
            for tick in yt:
                drawing.text(x0 - 6, y(tick) + 3.5, _plain(tick), cls="tick small", anchor="end")
            middle = y0 + cell_h / 2
            drawing.text(
                14, middle, _better(y_axis), cls="axis", transform=f"rotate(-90 14 {middle:g})"
            )
        if floor is not None and x_axis.key == "balanced_accuracy" and xt[0] < 100 * floor < xt[-1]:
            drawing.line(
                x(100 * floor), y0 + 1, x(100 * floor), y0 + cell_h - 1, cls="threshold",
                parent=panel,
                data_tip=f"Least balanced accuracy of a feasible trial: {percent(floor)} %",
            )  # fmt: skip
        places = pd.DataFrame({"x": x_axis.values(drawn).map(x), "y": y_axis.values(drawn).map(y)})
        _dots(drawing, panel, places.dropna(), kinds(drawn))
        for name, (trial, style) in finalists.items():
            px, py = float(x_axis.values(frame)[trial]), float(y_axis.values(frame)[trial])
            if known(px) and known(py):
                group = drawing.add("g", panel, cls=f"series s-{style.slot}", data_model=name)
                drawing.marker(x(px), y(py), style, size=5.5, parent=group, data_tip=name)
    return drawing.markup()


def _dots(drawing: Drawing, panel: ET.Element, places: pd.DataFrame, kind: pd.Series) -> None:
    """Add one path a kind: a dot is a line of no length with round ends; infeasible is a cross."""
    for name in _ORDER:
        points = places[kind.loc[places.index] == name]
        mark = "m-3-3l6 6m0-6l-6 6" if name == "infeasible" else "h0"
        path = "".join(f"M{x:.1f} {y:.1f}{mark}" for x, y in points.itertuples(index=False))
        if path:
            drawing.add("path", panel, cls=f"sample dots k-{name}", d=path)


def parallel_axes(
    frame: pd.DataFrame, axes: Sequence[Axis], finalists: Finalists, *, label: str, width: int
) -> Markup:
    """Draw the trials as lines over parallel axes, the better end of each up (right on a phone).

    Args:
        frame: The trials to be drawn, see `trial_axes.drawable`.
        axes: At least two.
        finalists: Drawn with the colours that they have on the rest of the page.
        label: For screen readers.
        width: In pixels; below 600 the axes lie, one below the other.
    """
    narrow = width < 600
    pitch = 62.0 if narrow else width / len(axes)
    drawing = Drawing(width, pitch * len(axes) if narrow else 330, label)
    drawn = sample(frame, 300)
    drawn = frame.loc[drawn.index.union(sorted({trial for trial, _ in finalists.values()}))]
    lines, rules = drawing.add("g"), drawing.add("g")
    places: list[_Places] = []
    for index, axis in enumerate(axes):
        group = drawing.add("g", rules, cls="axis-group", data_axis=index)
        middle = 34 + index * pitch if narrow else (index + 0.5) * pitch
        along = _axis(drawing, group, axis, axis.ticks(frame), middle, narrow)
        values = axis.values(drawn).dropna()
        places.append(
            {
                trial: (along(value), middle) if narrow else (middle, along(value))
                for trial, value in zip(values.index, values, strict=True)
            }
        )
    kind = kinds(drawn)
    for name in _ORDER:
        rows = list(drawn.index[kind == name])
        for start in range(0, len(rows), 10):  # one path overlaps in one tint: cut it
            path = "".join(_line(places, trial) for trial in rows[start : start + 10])
            drawing.add("path", lines, cls=f"sample thread k-{name}", d=path)
    for name, (trial, style) in finalists.items():
        group = drawing.add("g", lines, cls=f"series s-{style.slot}", data_model=name)
        drawing.add("path", group, cls="trend", d=_line(places, trial), data_tip=name)
        for place in places:
            if trial in place:
                drawing.marker(*place[trial], style, size=4.5, parent=group, data_tip=name)
    return drawing.markup()


_Places = dict[int, tuple[float, float]]


def _axis(
    drawing: Drawing,
    group: ET.Element,
    axis: Axis,
    ticks: Sequence[float],
    middle: float,
    narrow: bool,
) -> Scale:
    """Draw one axis, standing or (narrow) lying at ``middle``, with the strip to be dragged on."""
    width, height = drawing.width, drawing.height
    ends = (16.0, width - 16.0) if narrow else (height - 16.0, 52.0)
    along = Scale((ticks[0], ticks[-1]), ends[::-1] if axis.smaller_is_better else ends)
    low, high = along(ticks[0]), along(ticks[-1])
    better = "small is" if axis.smaller_is_better else "large is"
    if not narrow:
        drawing.line(middle, low, middle, high, cls="axle", parent=group)
        drawing.text(middle, 18, axis.title, cls="axis strong", parent=group)
        drawing.text(middle, 36, f"{better} up", cls="tick small", parent=group)
        for tick in ticks:
            drawing.text(
                middle - 8, along(tick) + 4, _plain(tick), cls="tick small halo", anchor="end",
                parent=group,
            )  # fmt: skip
        box = (middle - 26, 44.0, 52.0, height - 48)
    else:
        drawing.line(low, middle, high, middle, cls="axle", parent=group)
        title = f"{axis.title}, {better} right" if axis.smaller_is_better else axis.title
        drawing.text(16, middle - 9, title, cls="axis halo", anchor="start", parent=group)
        for tick in (ticks[0], ticks[len(ticks) // 2], ticks[-1]):
            anchor = (
                "start" if along(tick) < 30 else "end" if along(tick) > width - 30 else "middle"
            )
            drawing.text(
                along(tick), middle + 16, _plain(tick), cls="tick small halo", anchor=anchor,
                parent=group,
            )  # fmt: skip
        box = (0.0, middle - 18, width, 36.0)
    drawing.add("rect", group, cls="grip", x=box[0], y=box[1], width=box[2], height=box[3])
    return along


def _line(places: Sequence[_Places], trial: int) -> str:
    """Return the path of one trial, broken where it has no value."""
    path, pen = "", "M"
    for place in places:
        if trial in place:
            path += "{}{:.1f} {:.1f}".format(pen, *place[trial])
        pen = "L" if trial in place else "M"
    return path


def _plain(tick: float) -> str:
    return f"{tick:g}".replace("-", "−")


def _better(axis: Axis) -> str:
    return f"← {axis.title}" if axis.smaller_is_better else f"{axis.title} →"
