"""Pareto fronts and hypervolumes of what a search measured; moocore does the geometry."""

from __future__ import annotations

import moocore
import numpy as np
import numpy.typing as npt

Values = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]


def on_front(values: Values, feasible: Mask) -> Mask:
    """Return which of n points no feasible point dominates.

    Args:
        values: [n, objectives], to maximise.
        feasible: [n]; infeasible points are never on the front.
    """
    front = np.zeros(len(values), dtype=bool)
    rows = np.flatnonzero(feasible)
    if len(rows):
        front[rows] = moocore.is_nondominated(values[rows], maximise=True, keep_weakly=True)
    return front


def unit_box(values: Values, ideal: Values, worst: Values) -> Values:
    """Scale values [n, m] to 0–1: 1 = ``ideal`` [m], 0 = 10 % of the range below ``worst`` [m]."""
    reference = worst - 0.1 * np.maximum(ideal - worst, 1e-3)
    return np.asarray((values - reference) / (ideal - reference))


def _unit_box(values: Values, feasible: Mask) -> Values:
    """Scale to the box that the feasible values span."""
    good = values[feasible]
    return unit_box(values, good.max(axis=0), good.min(axis=0))


def hypervolume_progress(values: Values, feasible: Mask) -> list[float]:
    """Return the hypervolume of the front after each of n points, as a share of the box 0–1.

    Args:
        values: [n, objectives] in the order in which they were measured, to maximise.
        feasible: [n].
    """
    if not feasible.any():
        return [0.0] * len(values)
    scaled = _unit_box(values, feasible)
    reference = np.zeros(values.shape[1])
    progress, kept, volume = [], np.empty((0, values.shape[1])), 0.0
    for point, good in zip(scaled, feasible, strict=True):
        if good:
            together = np.vstack([kept, point])
            alive = moocore.is_nondominated(together, maximise=True)
            if alive[-1]:  # few do: a volume costs far more than a comparison
                kept = together[alive]
                volume = round(float(moocore.hypervolume(kept, ref=reference, maximise=True)), 6)
        progress.append(volume)
    return progress


def contributions(values: Values, feasible: Mask) -> Values:
    """Return the hypervolume that each of n points alone adds to the front; 0 off the front.

    Equal points have what one of them adds: none of them would add anything beside the others.
    """
    result = np.zeros(len(values))
    rows = np.flatnonzero(on_front(values, feasible))
    if len(rows):
        _, first, which = np.unique(values[rows], axis=0, return_index=True, return_inverse=True)
        single = np.sort(first)
        scaled = _unit_box(values, feasible)[rows[single]]
        reference = np.zeros(values.shape[1])
        gain = moocore.hv_contributions(scaled, ref=reference, maximise=True)
        result[rows] = gain[np.searchsorted(single, first[which.ravel()])]
    return result
