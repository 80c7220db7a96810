"""Drawings that compare models: by tone, by light, against references and against chance.

One function = one drawing: a data frame in, an inline SVG out. Drawings carry no colours: the
page's CSS gives them, in light, dark and print. Marks that explain themselves on hover carry
``data-tip``.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import pandas as pd
from markupsafe import Markup

from moenas.predictions import POOR_LIGHT
from moenas.report.measures import MEASURES, percent, probability, shortened
from moenas.report.svg import Drawing, Scale, finite, known, nice_ticks
from moenas.report.theme import LIGHT_LABELS, MONK_SCALE, Style


def _interval(low: object, high: object) -> str:
    if known(low) and known(high):
        return f" ({percent(float(low))} to {percent(float(high))})"  # type: ignore[arg-type]
    return ""


def interval_chart(
    frame: pd.DataFrame,
    styles: Mapping[str, Style],
    *,
    axis: str,
    label: str,
    width: int = 1040,
    connect: bool = False,
) -> Markup:
    """Draw means with intervals by category, models side by side (tones and lights).

    Args:
        frame: `tables.tones` or `tables.lights`.
        styles: Style by model name.
        axis: ``"tone"`` draws the Monk colours under the axis, ``"light"`` names the lights.
        label: For screen readers.
        width: In pixels; below 600 it is drawn for a phone.
        connect: Whether a line joins a model's means.
    """
    narrow = width < 600
    height = 340 if narrow else 400
    left, right, top = (34, 6, 12) if narrow else (44, 12, 14)
    bottom = 60
    values = finite(pd.concat([frame["mean"], frame["low"], frame["high"]]))
    ticks = nice_ticks(min(100 * min(values), 99.0), min(100.0, 100 * max(values)), 6)
    ticks = [tick for tick in ticks if tick <= 100]
    top_value = max(100 * max(values), ticks[-1])
    drawing = Drawing(width, height, label)
    y = Scale((ticks[0], top_value), (height - bottom, top))
    for tick in ticks:
        drawing.line(left, y(tick), width - right, y(tick))
        drawing.text(left - 8, y(tick) + 4, f"{tick:g}", anchor="end")
    categories = list(dict.fromkeys(frame["category"]))
    if axis == "light":
        categories = [light for light in LIGHT_LABELS if light in categories] + [
            light for light in categories if light not in LIGHT_LABELS
        ]
    else:
        categories.sort()
    slot = (width - left - right) / max(1, len(categories))
    centre = {name: left + slot * (index + 0.5) for index, name in enumerate(categories)}
    models = list(dict.fromkeys(frame["model"]))
    gap = min(11.0, slot * 0.72 / max(1, len(models)))
    for name in categories:
        _category_label(drawing, name, axis, centre[name], height - bottom, slot, narrow)
    poor = [centre[name] for name in POOR_LIGHT if axis == "light" and name in centre]
    if poor:
        line = height - bottom + 34
        drawing.line(min(poor) - slot * 0.42, line, max(poor) + slot * 0.42, line, cls="bracket")
        drawing.text(
            (min(poor) + max(poor)) / 2, line + 17, "counted as robustness", cls="tick small"
        )
    if axis == "tone":
        lowest = height - bottom + (50 if narrow else 54)
        drawing.text(left, lowest, "← lightest", anchor="start", cls="axis")
        drawing.text(width - right, lowest, "darkest →", anchor="end", cls="axis")
    for index, model in enumerate(models):
        style = styles[model]
        rows = frame[frame["model"] == model]
        group = drawing.add("g", cls=f"series s-{style.slot}", data_model=model)
        shift = (index - (len(models) - 1) / 2) * gap
        points: list[tuple[float, float]] = []
        for row in rows.itertuples():
            if not known(row.mean):
                continue
            x = centre[row.category] + shift
            if known(row.low) and known(row.high):
                drawing.line(x, y(100 * row.low), x, y(100 * row.high), cls="whisker", parent=group)
            points.append((x, y(100 * row.mean)))
        if connect:
            points.sort()
            drawing.path(points, cls="trend", parent=group, dash=style.dash)
        for row in rows.itertuples():
            if not known(row.mean):
                continue
            name = LIGHT_LABELS.get(row.category, str(row.category))
            title = f"tone {name}" if axis == "tone" else name.lower()
            drawing.marker(
                centre[row.category] + shift,
                y(100 * row.mean),
                style,
                size=3.2 if narrow else 4.6,
                parent=group,
                data_tip=f"{model}, {title}: {percent(row.mean)} %"
                f"{_interval(row.low, row.high)}, {row.n} images",
            )
    return drawing.markup()


def _category_label(
    drawing: Drawing, name: object, axis: str, x: float, y: float, slot: float, narrow: bool
) -> None:
    if axis == "tone" and name in MONK_SCALE:
        size = min(slot * 0.62, 46.0)
        drawing.add(
            "rect",
            cls="swatch",
            x=x - size / 2,
            y=y + 8.0,
            width=size,
            height=12.0 if narrow else 14.0,
            rx=3,
            fill=MONK_SCALE[int(str(name))],
        )
        drawing.text(x, y + (33 if narrow else 38), str(name))
        return
    text = LIGHT_LABELS.get(str(name), str(name))
    drawing.text(x, y + 22, text, cls="tick small" if narrow else "axis")


def strip_chart(
    rows: Sequence[tuple[str, float | None, float | None, float | None]],
    styles: Mapping[str, Style],
    *,
    domain: tuple[float, float],
    label: str,
) -> Markup:
    """Draw one small row a model: its mean with its interval on a common axis (the cards).

    Args:
        rows: Model name, mean, low, high, in the unit of the card.
        styles: Style by model name.
        domain: Ends of the axis.
        label: For screen readers.
    """
    width, row_height = 168, 16
    drawing = Drawing(width, row_height * len(rows), label)
    x = Scale(domain, (7, width - 7))
    for index, (model, mean, low, high) in enumerate(rows):
        y = row_height * (index + 0.5)
        drawing.line(0, y, width, y)
        if mean is None:
            continue
        group = drawing.add("g", cls=f"series s-{styles[model].slot}")
        if low is not None and high is not None:
            drawing.line(x(low), y, x(high), y, cls="whisker", parent=group)
        drawing.marker(x(mean), y, styles[model], size=4.2, parent=group)
    return drawing.markup()


def difference_chart(
    frame: pd.DataFrame, styles: Mapping[str, Style], *, label: str, width: int = 1040
) -> Markup:
    """Draw differences to a reference with intervals, one panel a measure, zero in each.

    Args:
        frame: Rows of `tables.differences` against one reference.
        styles: Style by model name.
        label: For screen readers.
        width: In pixels; below 600 it is drawn for a phone.
    """
    measures = [key for key in MEASURES if key in set(frame["measure"])]
    models = list(dict.fromkeys(frame["model"]))
    columns = 4 if width >= 600 else 2
    rows = math.ceil(len(measures) / columns)
    cell = width / columns
    row_height = 18
    cell_height = 34 + row_height * len(models) + 46
    drawing = Drawing(width, rows * cell_height - 22, label)
    for index, key in enumerate(measures):
        measure = MEASURES[key]
        left = cell * (index % columns) + 4
        top = cell_height * (index // columns)
        part = frame[frame["measure"] == key]
        ends = [100 * v for v in finite(pd.concat([part["low"], part["high"], part["difference"]]))]
        ticks = nice_ticks(min([0.0, *ends]), max([0.0, *ends]), 4)
        x = Scale((ticks[0], ticks[-1]), (left + 14, left + cell - (38 if columns == 4 else 22)))
        floor = top + 30 + row_height * len(models)
        drawing.text(left, top + 14, measure.label, cls="panel", anchor="start")
        if measure.higher_is_better:  # else zero is best, on whichever side the reference lies
            drawing.text(
                left + cell - (30 if columns == 4 else 10),
                top + 14,
                "better →" if columns == 4 else "→",
                cls="tick small",
                anchor="end",
            )
        for tick in ticks:
            drawing.line(x(tick), top + 24, x(tick), floor, cls="zero" if tick == 0 else "grid")
            drawing.text(x(tick), floor + 15, percent(tick / 100, 0 if tick % 1 == 0 else 1),
                         cls="tick small")  # fmt: skip
        for row in part.itertuples():
            if not known(row.difference):
                continue
            style = styles[row.model]
            y = top + 24 + row_height * (models.index(row.model) + 0.5) + 2
            group = drawing.add(
                "g", cls=f"series s-{style.slot}" + (" faint" if row.outcome == "undecided" else "")
            )
            if known(row.low) and known(row.high):
                drawing.line(x(100 * row.low), y, x(100 * row.high), y, cls="whisker", parent=group)
            p = f", Holm p {probability(row.p_holm)}" if known(row.p_holm) else ""
            drawing.marker(
                x(100 * row.difference), y, style, parent=group,
                data_tip=f"{row.model}: {percent(row.difference, signed=True)} points"
                f"{_interval(row.low, row.high)}{p}: {row.outcome}",
            )  # fmt: skip
    return drawing.markup()


def noise_chart(
    frame: pd.DataFrame, styles: Mapping[str, Style], *, label: str, width: int = 1040
) -> Markup:
    """Draw each model's fairness against the band that a perfectly fair model would reach.

    Args:
        frame: `tables.noise`.
        styles: Style by model name.
        label: For screen readers.
        width: In pixels; below 600 it is drawn for a phone, names above their rows.
    """
    narrow = width < 600
    row_height, left = (48, 14) if narrow else (34, 210)
    height = row_height * len(frame) + 34
    shown = ["fairness", "fairness_low", "fairness_high", "fairness_debiased", "floor_low"]
    values = finite(pd.concat([frame[column] for column in shown]))
    ticks = [t for t in nice_ticks(100 * min(values), 100.0, 6) if t <= 100]
    drawing = Drawing(width, height, label)
    x = Scale((ticks[0], 101), (left, width - 14))
    for tick in ticks:
        drawing.line(x(tick), 4, x(tick), height - 26)
        drawing.text(x(tick), height - 8, f"{tick:g}")
    for index, row in enumerate(frame.itertuples()):
        y = 4 + row_height * (index + (0.7 if narrow else 0.5))
        style = styles[row.model]
        if narrow:
            drawing.text(left, y - 15, shortened(row.model, 40), anchor="start", cls="axis")
        else:
            drawing.text(left - 12, y + 4, shortened(row.model, 24), anchor="end", cls="axis")
        if known(row.floor_low):
            start = x(max(100 * row.floor_low, ticks[0]))
            drawing.add(
                "rect", cls="floor", x=start, y=y - 9.0, width=max(1.0, x(100) - start),
                height=18.0, rx=4,
                data_tip=f"A perfectly fair model scores above {percent(row.floor_low)} % in 95 "
                "of 100 draws",
            )  # fmt: skip
        if known(row.floor_mean):
            drawing.line(
                x(100 * row.floor_mean), y - 9, x(100 * row.floor_mean), y + 9, cls="floor-mean"
            )
        group = drawing.add("g", cls=f"series s-{style.slot}", data_model=row.model)
        if known(row.fairness_low) and known(row.fairness_high):
            low, high = max(100 * row.fairness_low, ticks[0]), min(100 * row.fairness_high, 100.5)
            drawing.line(x(low), y, x(high), y, cls="whisker", parent=group)
        if known(row.fairness):
            p = f", p {probability(row.p_holm)} (Holm)" if known(row.p_holm) else ""
            drawing.marker(
                x(100 * row.fairness), y, style, parent=group,
                data_tip=f"{row.model}: fairness {percent(row.fairness)} %"
                f"{_interval(row.fairness_low, row.fairness_high)}{p}",
            )  # fmt: skip
    return drawing.markup()


def legend_mark(style: Style) -> Markup:
    """Draw a model's mark alone, for a legend."""
    drawing = Drawing(22, 14, "")
    drawing.root.set("aria-hidden", "true")
    group = drawing.add("g", cls=f"series s-{style.slot}")
    drawing.path([(0, 7), (22, 7)], cls="trend", parent=group, dash=style.dash)
    drawing.marker(11, 7, style, size=4.4, parent=group)
    return drawing.markup()
