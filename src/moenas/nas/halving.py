"""Successive halving over epochs, asynchronously and for several objectives.

Every architecture is trained shortly; the best third of those so far goes on to three times as
many epochs, and so on up to the full number (ASHA, Li et al., 2020; a front is ranked by what each
point adds to its hypervolume). Optuna's own pruning refuses several objectives.

Trainings of different lengths are never compared: an architecture is ranked among those of its own
length only, and one that does not reach the full length is no candidate for anything. What is told
of it, for the sampler to learn from, is its values plus what the full length has added to others.
"""

from __future__ import annotations

import dataclasses

import moocore
import numpy as np

from moenas.errors import ConfigError
from moenas.nas.front import Mask, Values, contributions

FACTOR = 3  # of the epochs from one rung to the next, and of the architectures that go on


@dataclasses.dataclass(frozen=True)
class Halving:
    """The rule.

    Attributes:
        rungs: Number of lengths; 1 trains everything fully.

    Raises:
        ConfigError: Fewer than one rung.
    """

    rungs: int = 1

    def __post_init__(self) -> None:
        if self.rungs < 1:
            raise ConfigError(f"rungs must be at least 1, not {self.rungs}.")

    @property
    def last(self) -> int:
        """The rung with the full length, from 0."""
        return self.rungs - 1

    def share(self, rung: int) -> float:
        """Share of the full epochs at a rung, 0–1."""
        return float(FACTOR) ** (rung - self.last)

    def goes_on(self, values: Values, feasible: Mask) -> bool:
        """Whether the last of n architectures belongs to the best third of them (at least one).

        Args:
            values: [n, objectives] after equally long trainings, to maximise.
            feasible: [n]; infeasible ones come last, whatever their values.
        """
        order = ranking(values, feasible)
        place = int(np.flatnonzero(order == len(values) - 1)[0])
        return bool(feasible[-1]) and place < max(1, len(values) // FACTOR)


def ranking(values: Values, feasible: Mask) -> np.ndarray:
    """Return the indices of n points, the best first: by front, then by contribution to it.

    Args:
        values: [n, objectives], to maximise.
        feasible: [n].
    """
    front = np.full(len(values), len(values), dtype=np.int64)
    gain = np.zeros(len(values))
    rows = np.flatnonzero(feasible)
    if len(rows):
        front[rows] = moocore.pareto_rank(values[rows], maximise=True)
    for rank in np.unique(front[rows]):
        same = front == rank
        gain[same] = contributions(values[same], np.ones(int(same.sum()), dtype=bool))
    return np.lexsort((-gain, front))


def extrapolated(values: Values, from_short: Values, from_full: Values) -> np.ndarray:
    """Return a guess of what a short training's values would be after the full length.

    Args:
        values: [objectives] after the short training.
        from_short: [n, objectives] of those trained both ways, after the short training.
        from_full: The same after the full one.
    """
    if not len(from_short):
        return np.asarray(values)
    return np.asarray(values + np.median(from_full - from_short, axis=0))
