"""The front and the hypervolume of points that come one by one, at a cost that hardly grows."""

from __future__ import annotations

import moocore
import numpy as np

from moenas.nas.front import Values, unit_box

MARKS = 32
"""How many past hypervolumes are computed anew when the box that they are shares of grows."""


class LiveFront:
    """What `on_front` and `hypervolume_progress` say of all points so far.

    A dominated point costs a comparison with the front, one that joins the front two hypervolumes.
    One that is better or worse than all before in some objective makes the box grow of which
    hypervolumes are shares; only then are past ones computed anew, `MARKS` of them.

    Args:
        objectives: How many.

    Attributes:
        count: How many points there are.
        feasible: How many of them are feasible.
        gain: What the last point added to the hypervolume, in today's box.
    """

    def __init__(self, objectives: int) -> None:
        self.count = 0
        self.feasible = 0
        self.gain = 0.0
        self._ideal = np.full(objectives, -np.inf)
        self._worst = np.full(objectives, np.inf)
        self._front: Values = np.empty((0, objectives))
        self._joined: list[tuple[int, Values]] = []  # when, and where; some left the front again
        self._curve: list[tuple[int, float]] = []  # when the hypervolume grew, and to what

    @property
    def size(self) -> int:
        """How many points are on the front."""
        return len(self._front)

    @property
    def hypervolume(self) -> float:
        """Of the front, as a share of the box that all feasible points span.

        It can fall when the box grows. The box of a single point says nothing.
        """
        return self._curve[-1][1] if self._curve else 0.0

    def add(self, point: Values, feasible: bool) -> bool:
        """Add a point and say whether it is on the front now.

        Args:
            point: [objectives], to maximise.
            feasible: An infeasible one counts, and changes nothing.
        """
        self.count += 1
        self.gain = 0.0
        if not feasible:
            return False
        self.feasible += 1
        grows = bool(((point > self._ideal) | (point < self._worst)).any())
        self._ideal = np.maximum(self._ideal, point)
        self._worst = np.minimum(self._worst, point)
        together = np.vstack([self._front, point])
        kept = moocore.is_nondominated(together, maximise=True, keep_weakly=True)
        joins = bool(kept[-1])
        if joins:
            before = self._volume(self._front)
            self._front = together[kept]
            self._joined.append((self.count, point))
            self._curve.append((self.count, self._volume(self._front)))
            self.gain = self.hypervolume - before
        if grows:
            self._curve = self._remembered()
        return joins

    def curve(self, marks: int) -> list[float]:
        """Return the hypervolume at so many evenly spaced moments, the last one now."""
        if not self._curve or marks < 1:
            return []
        times = [0, *(time for time, _ in self._curve)]
        volumes = [0.0, *(volume for _, volume in self._curve)]
        moments = np.linspace(self._curve[0][0], self.count, min(marks, self.count))
        return [volumes[i] for i in np.searchsorted(times, moments, side="right") - 1]

    def _remembered(self) -> list[tuple[int, float]]:
        """The hypervolume in today's box at some of the moments at which the front changed."""
        times = np.array([time for time, _ in self._joined])
        points = np.array([point for _, point in self._joined])
        ends = np.arange(1, len(times) + 1)
        if len(times) > MARKS:
            moments = np.linspace(times[0], times[-1], MARKS)
            ends = np.unique(np.searchsorted(times, moments, side="right"))
        return [(int(times[end - 1]), self._volume(points[:end])) for end in ends]

    def _volume(self, points: Values) -> float:
        if not len(points):
            return 0.0
        scaled = unit_box(points, self._ideal, self._worst)
        return float(moocore.hypervolume(scaled, ref=np.zeros(len(self._ideal)), maximise=True))
