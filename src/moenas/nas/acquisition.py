"""Monte-Carlo hypervolume improvement: how much a point would add, over posterior draws."""

from __future__ import annotations

import moocore
import numpy as np
from numpy.typing import NDArray

Values = NDArray[np.float64]
MARGIN = 0.1  # the reference point lies this share of the front's range below its worst values


def front_mask(Y: Values) -> NDArray[np.bool_]:
    """Return which rows of maximised values Y [n, M] are not dominated, equal ones once."""
    if not len(Y):
        return np.zeros(0, dtype=bool)
    return np.asarray(moocore.is_nondominated(Y, maximise=True))


def reference(front: Values, values: Values) -> tuple[Values, Values]:
    """Return the reference point [M] and the objectives' scales [M] for hypervolumes.

    Args:
        front: The front's maximised values [k, M].
        values: All values [n, M]: they give the range where the front is empty or flat.
    """
    base = front if len(front) else values
    low, spread = base.min(axis=0), np.ptp(base, axis=0)
    wide = np.ptp(values, axis=0)
    spread = np.where(spread > 1e-9, spread, np.where(wide > 1e-9, wide, 1.0))
    return low - MARGIN * spread, spread


def improvements(front: Values, points: Values) -> Values:
    """Return the hypervolume that each point [n, M] alone adds to a front [k, M].

    The reference point is the origin and all is maximised. What a point adds is its own box less
    what the front covers of it (the exclusive hypervolume of WFG, While et al. 2012).
    """
    out = np.zeros(len(points))
    front = front[(front > 0).all(axis=1)]
    ahead = np.any(np.all(front[None] >= points[:, None], axis=2), axis=1)
    worse, losses = -front, -points  # minimised: spares moocore a copy of each set
    volume_of = moocore.Hypervolume(ref=np.zeros(points.shape[1]))
    for i in np.flatnonzero((points > 0).all(axis=1) & ~ahead):
        box = float(np.prod(points[i]))
        covered = volume_of(np.maximum(worse, losses[i])) if len(front) else 0.0
        out[i] = max(box - covered, 0.0)
    return out


def mc_hvi(known: Values, candidates: Values) -> Values:
    """Return the mean hypervolume improvement [n] of candidates over posterior draws.

    All values are normalised: the reference point is the origin and all is maximised.

    Args:
        known: What the draws say of points evaluated or under evaluation, [draws, k, M].
        candidates: What the draws say of the candidates, [draws, n, M].
    """
    total = np.zeros(candidates.shape[1])
    for before, drawn in zip(known, candidates, strict=True):
        total += improvements(before[front_mask(before)], drawn)
    return total / len(candidates)
