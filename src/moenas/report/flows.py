"""Parallel sets as geometry: boxes on axes and the ribbons between them, all within 0–1."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
import pandas as pd

from moenas.analysis.attributes import Attribute

GAP = 0.02
"""Least gap between boxes of an axis, as a share of its length."""


@dataclasses.dataclass(frozen=True)
class Box:
    """A value of an axis: ``name`` from ``start`` to ``end``; ``images`` go through it."""

    axis: int
    name: str
    start: float
    end: float
    images: int


@dataclasses.dataclass(frozen=True)
class Ribbon:
    """Images of one value of the attribute that go from a box to a box of the next axis."""

    axis: int
    value: int
    start: tuple[float, float]
    end: tuple[float, float]
    images: int


@dataclasses.dataclass(frozen=True)
class Flows:
    """Axis 0 has the attribute's values, the others a layer's experts each."""

    axes: tuple[str, ...]
    boxes: tuple[Box, ...]
    ribbons: tuple[Ribbon, ...]


def paths_of(frame: pd.DataFrame) -> pd.DataFrame:
    """Return one row an image from one row an image and layer: columns ``layer_1`` … of experts.

    Args:
        frame: ``routes.parquet``; the images' order is kept.
    """
    layers = sorted(frame["layer"].unique())
    parts = [frame[frame["layer"] == layer].reset_index(drop=True) for layer in layers]
    of_the_route = ["layer", "experts", "expert", "share"]
    known = parts[0].drop(columns=[c for c in frame if c in of_the_route or c[:6] == "share_"])
    experts = {f"layer_{n}": part["expert"] for n, part in zip(layers, parts, strict=True)}
    return known.assign(**experts)


def flows(paths: pd.DataFrame, attribute: Attribute, experts: Sequence[tuple[int, int]]) -> Flows:
    """Lay out parallel sets.

    Args:
        paths: `paths_of` the routes.
        attribute: Sorts the images; those without a value are left out.
        experts: Number of each layer and how many experts it has.
    """
    known = attribute.index >= 0
    value = attribute.index[known]
    codes = [value]
    names = [list(attribute.values)]
    for number, count in experts:
        codes.append(paths[f"layer_{number}"].to_numpy()[known] - 1)
        names.append([f"E{e + 1}" for e in range(count)])
    unit = (1 - GAP * (max(map(len, names)) - 1)) / max(1, len(value))
    boxes: list[Box] = []
    starts: list[np.ndarray] = []
    for axis, (code, labels) in enumerate(zip(codes, names, strict=True)):
        sizes = np.bincount(code, minlength=len(labels))
        gap = (1 - unit * len(value)) / max(1, len(labels) - 1)
        begin = np.r_[0, np.cumsum(sizes * unit + gap)[:-1]]
        starts.append(begin)
        boxes += [
            Box(axis, label, float(b), float(b + n * unit), int(n))
            for label, b, n in zip(labels, begin, sizes, strict=True)
        ]
    ribbons: list[Ribbon] = []
    for axis in range(len(experts)):
        table = pd.DataFrame({"v": value, "a": codes[axis], "b": codes[axis + 1]})
        counts = table.value_counts().reset_index(name="n")
        leave, arrive = starts[axis].copy(), starts[axis + 1].copy()
        begin_of, end_of = {}, {}
        for v, a, b, n in counts.sort_values(["a", "v", "b"]).to_numpy():
            begin_of[v, a, b] = leave[a]
            leave[a] += n * unit
        for v, a, b, n in counts.sort_values(["b", "v", "a"]).to_numpy():
            end_of[v, a, b] = arrive[b]
            arrive[b] += n * unit
        for v, a, b, n in counts.sort_values(["v", "a", "b"]).to_numpy():
            first, last = float(begin_of[v, a, b]), float(end_of[v, a, b])
            width = float(n * unit)
            ribbons.append(
                Ribbon(axis, int(v), (first, first + width), (last, last + width), int(n))
            )
    titles = (attribute.title.capitalize(), *(f"Layer {number}" for number, _ in experts))
    return Flows(titles, tuple(boxes), tuple(ribbons))
