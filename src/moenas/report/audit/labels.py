"""Names beside points: each where it covers the least of what is there."""

from __future__ import annotations

from collections.abc import Sequence

Box = tuple[float, float, float, float]
"""left, top, right, bottom."""

LETTER, LINE = 6.4, 13.0
"""About the width of a letter and the height of a line of small text, in pixels."""


def place(
    points: Sequence[tuple[float, float]],
    texts: Sequence[str],
    wanted: Sequence[bool],
    frame: Box,
) -> list[tuple[float, float, str] | None]:
    """Return where each text starts or ends: (x, y of the baseline, SVG's text anchor).

    Greedy: one text after the other, wanted ones first, takes the best of ten places around its
    point. One that would cover another is left out (None), unless it is wanted.

    Args:
        points: Centres of the marks, in pixels.
        texts: One a point.
        wanted: Which texts have to be there.
        frame: What texts should stay within.
    """
    taken: list[Box] = [(x - 5, y - 5, x + 5, y + 5) for x, y in points]
    result: list[tuple[float, float, str] | None] = [None] * len(points)
    for i in sorted(range(len(points)), key=lambda i: not wanted[i]):
        (x, y), width = points[i], LETTER * len(texts[i])
        spots = [
            (x + side, y + drop, anchor)
            for drop in (-5.0, 14.0, 4.0)
            for side, anchor in ((9.0, "start"), (-9.0, "end"))
        ]
        spots += [(x, y + drop, "middle") for drop in (-9.0, 19.0, -20.0, 30.0)]
        best = min(spots, key=lambda spot: _cost(_box(spot, width), taken, frame))
        if wanted[i] or _cost(_box(best, width), taken, frame) == 0:
            taken.append(_box(best, width))
            result[i] = best
    return result


def apart(heights: Sequence[float], least: float, low: float, high: float) -> list[float]:
    """Push labels of one column apart: return heights at least ``least`` from each other.

    Args:
        heights: Where they would like to be.
        least: Smallest distance.
        low: None is above this ...
        high: ... or below this, as long as there is room.
    """
    order = sorted(range(len(heights)), key=lambda i: heights[i])
    placed: list[float] = []
    for i in order:
        floor = placed[-1] + least if placed else low
        placed.append(max(heights[i], floor))
    ceiling = high
    for n in reversed(range(len(placed))):
        placed[n] = min(placed[n], ceiling)
        ceiling = placed[n] - least
    result = [0.0] * len(heights)
    for spot, i in zip(placed, order, strict=True):
        result[i] = spot
    return result


def _box(spot: tuple[float, float, str], width: float) -> Box:
    x, y, anchor = spot
    left = {"start": x, "end": x - width, "middle": x - width / 2}[anchor]
    return left, y - LINE + 3, left + width, y + 3


def _cost(box: Box, taken: Sequence[Box], frame: Box) -> float:
    left, top, right, bottom = box
    outside = sum(
        max(0.0, over)
        for over in (frame[0] - left, frame[1] - top, right - frame[2], bottom - frame[3])
    )
    covered = sum(
        max(0.0, min(right, other[2]) - max(left, other[0]))
        * max(0.0, min(bottom, other[3]) - max(top, other[1]))
        for other in taken
    )
    return covered + 40 * outside
