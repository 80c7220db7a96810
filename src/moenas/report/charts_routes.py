"""Drawings of routes: parallel sets, how far a layer is beyond chance, maps over an image.

One function = one drawing: data in, an inline SVG out; the page's CSS gives the colours.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from markupsafe import Markup

from moenas.analysis.attributes import Attribute
from moenas.report.flows import Flows, Ribbon, flows
from moenas.report.measures import percent, shortened
from moenas.report.svg import Drawing, Scale, nice_ticks
from moenas.report.theme import MONK_SCALE

EXPERT_SLOTS = ("one", "wider", "two", "three", "four", "pruned", "five", "base")
"""Colours of experts 1 to 8, and of an attribute's values that have no colour of their own."""


def value_colour(attribute: Attribute, index: int) -> tuple[str, str]:
    """Return the CSS class of a value's marks and, for skin tones, the Monk scale's colour."""
    name = attribute.values[index]
    if attribute.column == "group" and name.isdigit() and int(name) in MONK_SCALE:
        return "tone", MONK_SCALE[int(name)]
    return f"s-{EXPERT_SLOTS[index % len(EXPERT_SLOTS)]}", ""


def parallel_sets(
    paths: pd.DataFrame,
    attribute: Attribute,
    experts: Sequence[tuple[int, int]],
    *,
    label: str,
    width: int = 1040,
) -> Markup:
    """Draw each image's path through the layers, coloured by an attribute (the paper's Fig. 10).

    Args:
        paths: `flows.paths_of` the routes.
        attribute: Colours the ribbons.
        experts: Number of each layer and how many experts it has.
        label: For screen readers.
        width: In pixels; below 600 paths run from top to bottom, for a phone.
    """
    layout = flows(paths, attribute, experts)
    down = width < 600
    along = 84.0 * len(layout.axes) + 20 if down else 460.0
    drawing = Drawing(width, along if down else 500, label)
    if down:
        place = Scale((0, max(1, len(layout.axes) - 1)), (34, along - 40))
        across = Scale((0, 1), (34, width - 6))
    else:
        place = Scale((0, max(1, len(layout.axes) - 1)), (118, width - 44))
        across = Scale((0, 1), (34, 492))
    for index, name in enumerate(attribute.values):
        cls, colour = value_colour(attribute, index)
        group = drawing.add("g", cls=f"series flow {cls}", data_model=name)
        count = sum(box.images for box in layout.boxes if box.axis == 0 and box.name == name)
        group.set("data-tip", f"{attribute.title} {name}: {count} images")
        if colour:
            group.set("style", f"--c: {colour}")
        for axis in range(len(experts)):
            mine = [r for r in layout.ribbons if r.value == index and r.axis == axis]
            if mine:
                ends = place(axis) + 5, place(axis + 1) - 5
                shape = "".join(_ribbon(ribbon, *ends, across, down) for ribbon in mine)
                drawing.add("path", group, d=shape)
    _axes(drawing, layout, attribute, place, across, down)
    return drawing.markup()


def _ribbon(ribbon: Ribbon, first: float, last: float, across: Scale, down: bool) -> str:
    a, b = (across(edge) for edge in ribbon.start)
    c, d = (across(edge) for edge in ribbon.end)
    middle = (first + last) / 2

    def at(along: float, side: float) -> str:
        return f"{side:.1f} {along:.1f}" if down else f"{along:.1f} {side:.1f}"

    there = f"M{at(first, a)}C{at(middle, a)} {at(middle, c)} {at(last, c)}"
    back = f"L{at(last, d)}C{at(middle, d)} {at(middle, b)} {at(first, b)}Z"
    return there + back


def _axes(
    drawing: Drawing,
    layout: Flows,
    attribute: Attribute,
    place: Scale,
    across: Scale,
    down: bool,
) -> None:
    total = sum(box.images for box in layout.boxes if box.axis == 0)
    for axis, title in enumerate(layout.axes):
        if down:
            short = title if axis == 0 else f"L{title.removeprefix('Layer ')}"
            left, below = (34, -12) if axis == 0 else (2, 4)
            drawing.text(left, place(axis) + below, short, cls="axis", anchor="start")
        else:
            drawing.text(place(axis), 18, title, cls="axis")
    for box in layout.boxes:
        at, start, end = place(box.axis), across(box.start), across(box.end)
        x, y, width, height = (start, at - 5, end - start, 10.0)
        if not down:
            x, y, width, height = at - 5, start, 10.0, end - start
        mark = drawing.add("rect", cls="flow-box", x=x, y=y, width=width, height=height)
        what = f"{attribute.title} {box.name}" if box.axis == 0 else (
            f"{layout.axes[box.axis]}, expert {box.name[1:]}"
        )  # fmt: skip
        share = percent(box.images / max(1, total))
        mark.set("data-tip", f"{what}: {box.images} images, {share} %")
        middle = (start + end) / 2
        if down:
            if len(box.name) <= 3:
                drawing.text(middle, at + 17, box.name, cls="tick small halo")
        elif box.axis == 0:
            short = shortened(box.name, 14)
            drawing.text(at - 11, middle + 4, short, anchor="end")
        else:
            drawing.text(at + 9, middle + 4, box.name, cls="tick small halo", anchor="start")


def beyond_chance(
    frame: pd.DataFrame, *, column: str, axis: str, label: str, width: int = 1040
) -> Markup:
    """Draw a quantity of each layer as a mark, over the band that chance stays in.

    Args:
        frame: `routes_page.tests_frame`.
        column: ``"tokens"`` or ``"told"``; its chance level and p-value are columns beside it.
        axis: What it is, in per cent.
        label: For screen readers.
        width: In pixels.
    """
    left, right, top, bottom, height = 44, 12, 12, 48, 230
    drawing = Drawing(width, height, label)
    most = float(max(frame[column].max(), frame[f"{column}_high"].max(), 0.001))
    ticks = nice_ticks(0, 100 * most, 4)
    y = Scale((0, ticks[-1]), (height - bottom, top))
    for tick in ticks:
        drawing.line(left, y(tick), width - right, y(tick))
        drawing.text(left - 8, y(tick) + 4, f"{tick:g}", anchor="end")
    slot = (width - left - right) / len(frame)
    band = min(64.0, slot * 0.7)
    for index, row in enumerate(frame.to_dict("records")):
        x = left + slot * (index + 0.5)
        high, value = max(0.0, 100 * row[f"{column}_high"]), max(0.0, 100 * row[column])
        drawing.add("rect", cls="floor", x=x - band / 2, y=y(high), width=band,
                    height=y(0) - y(high))  # fmt: skip
        sure = row[f"{column}_p_holm"] < 0.05
        mark = drawing.add("circle", cls="chance-mark" + (" sure" if sure else ""),
                           cx=x, cy=y(value), r=5.0)  # fmt: skip
        mark.set(
            "data-tip",
            f"Layer {row['layer']}: {percent(row[column])} %; chance stays below "
            f"{percent(row[f'{column}_high'])} % in 95 of 100 cases",
        )
        drawing.text(x, height - bottom + 18, str(row["layer"]), cls="tick")
    drawing.text((left + width - right) / 2, height - 8, f"Layer · {axis}", cls="axis")
    return drawing.markup()


def usage_map(places: Sequence[Sequence[int]], image: str, label: str) -> Markup:
    """Draw which expert took each position of an image, over the image in grey.

    Args:
        places: [side, side] expert (from 0) at each position, row by row.
        image: ``data:`` URI of the image.
        label: For screen readers.
    """
    grid = np.asarray(places)
    side = len(grid)
    drawing = Drawing(side, side, label)
    drawing.root.set("class", "map")
    drawing.root.attrib.pop("width")
    drawing.root.attrib.pop("height")
    drawing.add("image", href=image, width=side, height=side, preserveAspectRatio="none")
    for expert in np.unique(grid):
        runs = []
        for row, line in enumerate(grid == expert):
            edges = np.flatnonzero(np.diff(np.r_[False, line, False]))
            runs += [f"M{a} {row}h{b - a}v1h{a - b}z" for a, b in edges.reshape(-1, 2).tolist()]
        drawing.add(
            "path", cls=f"piece s-{EXPERT_SLOTS[int(expert) % 8]}", d="".join(runs),
            data_expert=int(expert) + 1,
        )  # fmt: skip
    return drawing.markup()
