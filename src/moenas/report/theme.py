"""Colours and marks of the figures: Okabe-Ito's palette, safe for colour-blind readers."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

from markupsafe import Markup

from moenas.report.results import ComparedModel

WIDE, NARROW = 1040, 360
"""Widths of the web drawings for a desk and for a phone, in CSS pixels."""


def both_widths(draw: Callable[..., Markup], *data: Any, **options: Any) -> dict[str, Any]:
    """Draw for a desk and for a phone, as the templates' macro ``drawing`` takes it.

    Args:
        draw: Takes ``data``, ``options`` and a ``width`` in pixels.
        data: What is drawn.
        options: Like ``label``.
    """
    widths = (("wide", WIDE), ("narrow", NARROW))
    return {name: draw(*data, width=width, **options) for name, width in widths}


MONK_SCALE = {
    1: "#f6ede4",
    2: "#f3e7db",
    3: "#f7ead0",
    4: "#eadaba",
    5: "#d7bd96",
    6: "#a07e56",
    7: "#825c43",
    8: "#604134",
    9: "#3a312a",
    10: "#292420",
}
"""The ten colours of the Monk skin tone scale, lightest first."""

LIGHT_LABELS = {
    "underexposed": "Underexposed",
    "dimly_lit": "Dimly lit",
    "well_lit": "Well lit",
    "overexposed": "Overexposed",
}
"""The four lights, darkest first, as the page writes them."""


@dataclasses.dataclass(frozen=True)
class Style:
    """How one model is drawn: ``slot`` names its CSS colour, ``colour`` is the one for print."""

    slot: str
    colour: str
    marker: str
    dash: str


_BASE = Style("base", "#5b6470", "o", "")
_WIDER = Style("wider", "#c77700", "s", "5 3")
_PRUNED = Style("pruned", "#d55e00", "X", "2 3")
_FINALISTS = (
    Style("one", "#0072b2", "D", ""),
    Style("two", "#009e73", "^", ""),
    Style("three", "#b0578d", "v", ""),
    Style("four", "#56b4e9", "P", ""),
    Style("five", "#8a7a00", "D", "4 2"),
)


def styles(models: Sequence[ComparedModel]) -> dict[str, Style]:
    """Give each model its style by role; finalists take theirs in order.

    Args:
        models: The compared models.

    Returns:
        Style by model name.
    """
    result: dict[str, Style] = {}
    finalists = 0
    for model in models:
        if model.role == "finalist":
            result[model.name] = _numbered(finalists)
            finalists += 1
        else:
            result[model.name] = {"base": _BASE, "wider": _WIDER, "pruned": _PRUNED}[model.role]
    return result


def run_styles(runs: Sequence[str]) -> dict[str, Style]:
    """Give each of several runs its style, in order: five colours, then again with other marks.

    Args:
        runs: Their names.

    Returns:
        Style by name.
    """
    return {name: _numbered(place) for place, name in enumerate(runs)}


def _numbered(place: int) -> Style:
    """A style by number from 0; one that has another's colour has another mark and line."""
    again, first = divmod(place, len(_FINALISTS))
    style = _FINALISTS[first]
    if not again:
        return style
    return dataclasses.replace(style, marker="osX"[(again - 1) % 3], dash="1 3")
