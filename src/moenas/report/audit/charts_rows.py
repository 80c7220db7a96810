"""Models as rows and lines: generalisation and light (Fig. 1a), accuracy as images get worse."""

from __future__ import annotations

import numpy as np
import pandas as pd
from markupsafe import Markup

from moenas.report.audit.labels import apart
from moenas.report.measures import percent, shortened
from moenas.report.svg import Drawing, Scale, finite, known, nice_ticks
from moenas.report.theme import Style

LINE = 14
"""Pixels from one name of a column to the next."""

ROOM = 26
"""Letters of a name beside a drawing; a longer one is cut, and told in whole by a touch."""

KINDS = {
    "validation": ("validation", Style("val", "", "o", "")),
    "report": ("report half", Style("seen", "", "D", "")),
    "poor": ("report half, poor light", Style("poor", "", "v", "")),
}
"""What a row shows, with its mark."""


def light_rows(frame: pd.DataFrame, *, label: str, width: int = 1040) -> Markup:
    """Draw each model's accuracy on validation images, the report half, and in poor light.

    Args:
        frame: `frames.lights`.
        label: For screen readers.
        width: In pixels; below 600 it is drawn for a phone, names above their rows.
    """
    narrow = width < 600
    row_height, left = (40, 14) if narrow else (27, 220)
    height = row_height * len(frame) + 44
    columns = [column for column in KINDS if frame[column].notna().any()]
    values = [100 * v for column in (*columns, "low", "high") for v in finite(frame[column])]
    ticks = nice_ticks(min(values), max(values), 8)
    drawing = Drawing(width, height, label)
    x = Scale((ticks[0], ticks[-1]), (left, width - 16))
    for tick in ticks:
        drawing.line(x(tick), 4, x(tick), height - 40)
        drawing.text(x(tick), height - 24, f"{tick:g}")
    drawing.text((left + width) / 2, height - 6, "Balanced accuracy, %", cls="axis")
    for index, row in enumerate(frame.itertuples()):
        y = 4 + row_height * (index + (0.72 if narrow else 0.5))
        group = drawing.add("g", cls="series row s-plain", data_model=row.model)
        if narrow:
            name = shortened(row.model, 40)
            drawing.text(left, y - 13, name, anchor="start", cls="axis", parent=group)
        else:
            name = shortened(row.model, ROOM)
            drawing.text(left - 12, y + 4, name, anchor="end", cls="axis", parent=group)
        shown = {key: getattr(row, key) for key in columns if known(getattr(row, key))}
        ends = [x(100 * value) for value in shown.values()]
        drawing.line(min(ends), y, max(ends), y, cls="span", parent=group)
        if known(row.low) and known(row.high):
            drawing.line(x(100 * row.low), y, x(100 * row.high), y, cls="whisker", parent=group)
        for key, value in shown.items():
            name, style = KINDS[key]
            drawing.marker(
                x(100 * value), y, style, size=4.6, parent=group,
                data_tip=f"{row.model}, {name}: {percent(value)} %",
            )  # fmt: skip
    return drawing.markup()


def curve_chart(frame: pd.DataFrame, leader: str, *, label: str, width: int = 1040) -> Markup:
    """Draw balanced accuracy by severity, a line a model, named at its end.

    Where there are more lines than room for names, the leader's is named and a share of the others'
    from the highest to the lowest; the rest are named by a touch.

    Args:
        frame: `frames.curves`.
        leader: The model that is drawn apart.
        label: For screen readers.
        width: In pixels; below 600 lines are named by a touch alone.
    """
    narrow = width < 600
    left, right, top, bottom, height = 44, 14 if narrow else 214, 14, 46, 390
    values = [100 * value for value in finite(frame["value"])]
    ticks = nice_ticks(min(values), max(values), 6)
    drawing = Drawing(width, height, label)
    last = int(frame["severity"].max())
    x = Scale((0, max(1, last)), (left, width - right))
    y = Scale((ticks[0], ticks[-1]), (height - bottom, top))
    for tick in ticks:
        drawing.line(left, y(tick), width - right, y(tick))
        drawing.text(left - 8, y(tick) + 4, f"{tick:g}", anchor="end")
    for severity in range(last + 1):
        drawing.text(x(severity), height - bottom + 19, str(severity) if severity else "as is")
    drawing.text((left + width - right) / 2, height - 6, "Severity", cls="axis")
    ends: list[tuple[float, str]] = []
    for model, rows in frame.groupby("model", sort=False):
        slot = "lead" if model == leader else "plain"
        group = drawing.add("g", cls=f"series s-{slot}", data_model=model)
        points = [(x(row.severity), y(100 * row.value)) for row in rows.itertuples()]
        drawing.path(points, cls="trend", parent=group)
        for row, (px, py) in zip(rows.itertuples(), points, strict=True):
            lost = f", {percent(row.drop)} points lost" if row.severity else ""
            drawing.marker(
                px, py, Style(slot, "", "D" if slot == "lead" else "o", ""), size=3.4,
                parent=group,
                data_tip=f"{model}, severity {row.severity}: {percent(row.value)} %{lost}",
            )  # fmt: skip
        ends.append((points[-1][1], str(model)))
    if not narrow:
        named = _named(ends, leader, (height - bottom - top) // LINE + 1)
        heights = apart([end for end, _ in named], LINE, top, height - bottom)
        for (end, model), at in zip(named, heights, strict=True):
            drawing.line(width - right + 6, end, width - right + 16, at, cls="leader-line")
            text = drawing.text(width - right + 20, at + 4, shortened(model, ROOM),
                                cls="tick small name", anchor="start")  # fmt: skip
            text.set("data-model", model)
    return drawing.markup()


def _named(ends: list[tuple[float, str]], leader: str, most: int) -> list[tuple[float, str]]:
    """Return the leader's end and an even share of the others, at most so many."""
    if len(ends) <= most:
        return ends
    others = sorted(end for end in ends if end[1] != leader)
    kept = [end for end in ends if end[1] == leader]
    places = np.linspace(0, len(others) - 1, most - len(kept)).round().astype(int)
    return kept + [others[place] for place in places]
