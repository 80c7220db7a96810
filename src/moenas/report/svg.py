"""A minimal drawing surface for inline SVG: escaped by ElementTree, coloured by the page's CSS."""

from __future__ import annotations

import math
import xml.etree.ElementTree as ET
from collections.abc import Iterable, Sequence
from typing import Any

import pandas as pd
from markupsafe import Markup
from matplotlib.ticker import MaxNLocator

from moenas.report.theme import Style


def nice_ticks(low: float, high: float, count: int = 5) -> list[float]:
    """Return round numbers from at or below ``low`` to at or above ``high``."""
    if high <= low:
        low, high = low - 0.5, high + 0.5
    locator = MaxNLocator(nbins=count, steps=[1, 2, 2.5, 5, 10])
    return [float(tick) for tick in locator.tick_values(low, high)]


def size_ticks(low: float, high: float) -> list[float]:
    """Return the numbers ..., 0.5, 1, 2, 5, 10, ... from ``low`` (above 0) to ``high``."""
    tens = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    steps = [float(f"{digit}e{ten}") for ten in tens for digit in (1, 2, 5)]
    return [step for step in steps if low <= step <= high]


def finite(values: pd.Series) -> list[float]:
    """Return the numbers of a column, without the missing ones."""
    return [float(value) for value in values if value is not None and math.isfinite(value)]


def known(value: object) -> bool:
    """Whether a cell holds a number."""
    return isinstance(value, int | float) and math.isfinite(value)


class Scale:
    """A linear map from data to pixels."""

    def __init__(self, domain: tuple[float, float], pixels: tuple[float, float]) -> None:
        self.low, self.high = domain
        self.start, self.end = pixels

    def __call__(self, value: float) -> float:
        """Return the pixel of a value."""
        share = (value - self.low) / (self.high - self.low or 1.0)
        return self.start + share * (self.end - self.start)


class Drawing:
    """An SVG under construction.

    Args:
        width: Width in CSS pixels at full size; the drawing shrinks with the page.
        height: Height in CSS pixels.
        label: What a screen reader says in place of the drawing.
    """

    def __init__(self, width: float, height: float, label: str) -> None:
        self.width, self.height = width, height
        self.root = ET.Element(
            "svg",
            {
                "viewBox": f"0 0 {width:g} {height:g}",
                "width": f"{width:g}",
                "height": f"{height:g}",
                "role": "img",
                "aria-label": label,
            },
        )

    def add(
        self,
        tag: str,
        parent: ET.Element | None = None,
        *,
        text: str = "",
        cls: str = "",
        **attributes: Any,
    ) -> ET.Element:
        """Append an element; ``_`` in attribute names becomes ``-``, numbers get two decimals."""
        element = ET.SubElement(self.root if parent is None else parent, tag)
        if cls:
            element.set("class", cls)
        for name, value in attributes.items():
            written = f"{value:.2f}".rstrip("0").rstrip(".") if isinstance(value, float) else value
            element.set(name.replace("_", "-"), str(written))
        element.text = text or None
        return element

    def text(
        self,
        x: float,
        y: float,
        text: str,
        *,
        cls: str = "tick",
        anchor: str = "middle",
        parent: ET.Element | None = None,
        **attributes: Any,
    ) -> ET.Element:
        """Append a text whose baseline starts, centres or ends at (x, y)."""
        return self.add(
            "text", parent, text=text, cls=cls, x=float(x), y=float(y), text_anchor=anchor,
            **attributes,
        )  # fmt: skip

    def line(
        self,
        x1: float,
        y1: float,
        x2: float,
        y2: float,
        *,
        cls: str = "grid",
        parent: ET.Element | None = None,
        **attributes: Any,
    ) -> ET.Element:
        """Append a straight line."""
        return self.add(
            "line", parent, cls=cls, x1=float(x1), y1=float(y1), x2=float(x2), y2=float(y2),
            **attributes,
        )  # fmt: skip

    def path(
        self,
        points: Iterable[tuple[float, float]],
        *,
        cls: str,
        parent: ET.Element | None = None,
        step: bool = False,
        dash: str = "",
        **attributes: Any,
    ) -> ET.Element:
        """Append an open line through points, as a staircase where ``step``."""
        if dash:
            attributes["stroke_dasharray"] = dash
        parts: list[str] = []
        for x, y in points:
            if not parts:
                parts.append(f"M{x:.1f} {y:.1f}")
            elif step:
                parts.append(f"H{x:.1f}V{y:.1f}")
            else:
                parts.append(f"L{x:.1f} {y:.1f}")
        return self.add("path", parent, cls=cls, d="".join(parts), **attributes)

    def marker(
        self,
        x: float,
        y: float,
        style: Style,
        *,
        size: float = 5.0,
        parent: ET.Element | None = None,
        **attributes: Any,
    ) -> ET.Element:
        """Append a model's mark; its shape tells models apart without colour."""
        shapes: dict[str, Sequence[tuple[float, float]]] = {
            "s": [(-0.85, -0.85), (0.85, -0.85), (0.85, 0.85), (-0.85, 0.85)],
            "D": [(0, -1.15), (1.15, 0), (0, 1.15), (-1.15, 0)],
            "^": [(0, -1.15), (1.1, 0.85), (-1.1, 0.85)],
            "v": [(0, 1.15), (1.1, -0.85), (-1.1, -0.85)],
            "P": [
                *((-0.35, -1.1), (0.35, -1.1), (0.35, -0.35), (1.1, -0.35), (1.1, 0.35)),
                *((0.35, 0.35), (0.35, 1.1), (-0.35, 1.1), (-0.35, 0.35), (-1.1, 0.35)),
                *((-1.1, -0.35), (-0.35, -0.35)),
            ],
            "X": [
                *((-1, -0.55), (-0.55, -1), (0, -0.45), (0.55, -1), (1, -0.55), (0.45, 0)),
                *((1, 0.55), (0.55, 1), (0, 0.45), (-0.55, 1), (-1, 0.55), (-0.45, 0)),
            ],
        }
        cls = f"mark m-{style.slot}"
        if style.marker not in shapes:
            return self.add(
                "circle", parent, cls=cls, cx=float(x), cy=float(y), r=size, **attributes
            )
        corners = " ".join(
            f"{x + size * dx:.1f},{y + size * dy:.1f}" for dx, dy in shapes[style.marker]
        )
        return self.add("polygon", parent, cls=cls, points=corners, **attributes)

    def markup(self) -> Markup:
        """Return the drawing as HTML; all text and attributes in it are escaped."""
        return Markup(ET.tostring(self.root, encoding="unicode"))  # noqa: S704 - ElementTree escapes
