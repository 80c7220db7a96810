"""Figures of routes for print: one function = one figure, a data frame in, a matplotlib one out."""

from __future__ import annotations

from collections.abc import Sequence

import matplotlib as mpl
import numpy as np
import numpy.typing as npt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import Patch, PathPatch, Rectangle
from matplotlib.path import Path as Outline

from moenas.analysis.attributes import find_attributes
from moenas.errors import DataError, RunFolderError
from moenas.report.flows import Ribbon, flows, paths_of
from moenas.report.print_style import PAGE, PRINT_STYLE, unread
from moenas.report.routes_table import read_routes
from moenas.report.theme import MONK_SCALE
from moenas.runs import RunFolder
from moenas.serialisation import read_json

COLOURS = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#b5a300", "#5b6470")
"""Of experts 1 to 8, for print (Okabe and Ito's, safe for colour-blind readers)."""


@mpl.rc_context(PRINT_STYLE)
def parallel_sets(frame: pd.DataFrame, column: str = "group") -> Figure:
    """Draw each image's path through the layers, coloured by an attribute (the paper's Fig. 10).

    Args:
        frame: ``routes.parquet``: one row an image and layer.
        column: The attribute.

    Raises:
        DataError: There is no such column, or fewer than two values of it have images.
    """
    paths = paths_of(frame)
    found, notes = find_attributes(paths, (column,))
    attribute = next((one for one in found if one.column == column), None)
    if attribute is None:
        raise DataError(f"There is nothing to draw by '{column}': {' '.join(notes)}")
    layers = frame.drop_duplicates("layer").sort_values("layer")
    experts = [(int(n), int(e)) for n, e in layers[["layer", "experts"]].to_numpy()]
    layout = flows(paths, attribute, experts)
    figure = Figure(figsize=(PAGE, 3.2), layout="constrained")
    axes = figure.subplots()
    tones = attribute.column == "group" and all(
        name.isdigit() and int(name) in MONK_SCALE for name in attribute.values
    )
    for ribbon in layout.ribbons:
        name = attribute.values[ribbon.value]
        colour = MONK_SCALE[int(name)] if tones else COLOURS[ribbon.value % len(COLOURS)]
        axes.add_patch(_patch(ribbon, colour))
    for box in layout.boxes:
        axes.add_patch(
            Rectangle((box.axis - 0.03, box.start), 0.06, box.end - box.start, color="#30363c")
        )
        middle = (box.start + box.end) / 2
        if box.axis == 0:
            axes.text(-0.07, middle, unread(box.name, 16), ha="right", va="center", fontsize=6.5)
        else:
            axes.text(box.axis + 0.06, middle, box.name, ha="left", va="center", fontsize=6)
    axes.set_xlim(-0.6, len(layout.axes) - 0.6)
    axes.set_ylim(1.02, -0.02)
    axes.set_xticks(range(len(layout.axes)), layout.axes)
    axes.xaxis.tick_top()
    axes.tick_params(length=0)
    _bare(axes)
    return figure


def routes_figures(run: RunFolder) -> dict[str, Figure]:
    """Return the parallel sets of each attribute that routes were compared by, by file name.

    Args:
        run: The run folder of ``moenas routes``.

    Raises:
        RunFolderError: A file is missing or damaged.
    """
    table = read_routes(run)
    figures = {}
    try:
        columns = [str(one["column"]) for one in read_json(run.routes_summary)["attributes"]]
    except (KeyError, TypeError) as error:
        raise RunFolderError(
            f"'{run.routes_summary}' is damaged or of another version ({error!r}). Run the same "
            "'moenas routes' command again."
        ) from error
    for column in columns:
        name = "".join(c if c.isalnum() else "-" for c in column)
        figures[f"routes-by-{name}"] = parallel_sets(table, column)
    return figures


@mpl.rc_context(PRINT_STYLE)
def path_of_image(
    image: npt.NDArray[np.uint8],
    maps: Sequence[tuple[int, npt.NDArray[np.integer] | None]],
    title: str,
) -> Figure:
    """Draw which expert took each position of one image, layer by layer.

    Args:
        image: [size, size, 3] RGB, as the model sees it.
        maps: For each layer with experts its number and [side, side] the expert (from 0) at each
            position; None where it sees no positions.
        title: Above it.
    """
    columns = min(5, len(maps) + 1)
    rows = -(-(len(maps) + 1) // columns)
    figure = Figure(figsize=(1.45 * columns, 1.6 * rows + 0.65), layout="constrained")
    panels = np.atleast_1d(figure.subplots(rows, columns, squeeze=False)).ravel()
    size = image.shape[0]
    panels[0].imshow(image)
    panels[0].set_title("image", fontsize=8)
    grey = np.repeat(image.mean(axis=2, keepdims=True), 3, axis=2) / 255
    used: set[int] = set()
    for panel, (number, places) in zip(panels[1:], maps, strict=False):
        panel.set_title(f"layer {number}", fontsize=8)
        if places is None:
            panel.text(0.5, 0.5, "class token\nonly", ha="center", va="center", fontsize=7,
                       transform=panel.transAxes)  # fmt: skip
            continue
        used.update(int(e) for e in np.unique(places))
        colours = np.array([to_rgb(colour) for colour in COLOURS])[places % len(COLOURS)]
        nearest = np.arange(size) * len(places) // size
        panel.imshow(0.45 * grey + 0.55 * colours[nearest][:, nearest])
        # Letters as well as colours, where there is room for them.
        if len(places) <= 8:
            step = size / len(places)
            for row, line in enumerate(places):
                for column, expert in enumerate(line):
                    x, y = (column + 0.5) * step - 0.5, (row + 0.5) * step - 0.5
                    panel.text(x, y, str(expert + 1), fontsize=5, ha="center", va="center")
    for panel in panels:
        _bare(panel)
        panel.set_xticks([])
    handles = [
        Patch(color=COLOURS[e % len(COLOURS)], label=f"expert {e + 1}") for e in sorted(used)
    ]
    figure.suptitle(unread(title, 80), fontsize=8)
    if handles:
        figure.legend(handles=handles, ncols=min(4, len(handles)), loc="outside lower center")
    return figure


def _patch(ribbon: Ribbon, colour: str) -> PathPatch:
    left, right = ribbon.axis + 0.03, ribbon.axis + 0.97
    middle = (left + right) / 2
    (a, b), (c, d) = ribbon.start, ribbon.end
    points = [(left, a), (middle, a), (middle, c), (right, c), (right, d), (middle, d), (middle, b)]
    curve = [Outline.MOVETO, *[Outline.CURVE4] * 3, Outline.LINETO, *[Outline.CURVE4] * 3]
    shape = Outline([*points, (left, b)], curve)
    return PathPatch(shape, facecolor=colour, edgecolor="#5b6470", linewidth=0.1, alpha=0.85)


def _bare(axes: Axes) -> None:
    axes.set_yticks([])
    axes.grid(visible=False)
    for spine in axes.spines.values():
        spine.set_visible(False)
