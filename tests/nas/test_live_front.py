from __future__ import annotations

import moocore
import numpy as np
import pytest

from moenas.nas import live_front
from moenas.nas.front import hypervolume_progress, on_front
from moenas.nas.live_front import LiveFront


def points(seed: int, n: int = 200) -> tuple[np.ndarray, np.ndarray]:
    """A search that gets better, with equal points and infeasible ones."""
    rng = np.random.default_rng(seed)
    values = (rng.normal(size=(n, 3)) + np.linspace(0, 1, n)[:, None]).round(1)
    return values, rng.random(n) < 0.8


def whole_volume(values: np.ndarray, feasible: np.ndarray) -> float:
    """moocore on all feasible points at once, in the box that they span."""
    good = values[feasible]
    reference = good.min(axis=0) - 0.1 * (good.max(axis=0) - good.min(axis=0))
    volume = moocore.hypervolume(good, ref=reference, maximise=True)
    return float(volume / np.prod(good.max(axis=0) - reference))


@pytest.mark.parametrize("seed", range(3))
def test_after_each_point_it_knows_what_the_whole_set_says(seed: int) -> None:
    values, feasible = points(seed)
    front = LiveFront(3)
    for i, (value, good) in enumerate(zip(values, feasible, strict=True), start=1):
        joins = front.add(value, bool(good))
        on = on_front(values[:i], feasible[:i])
        assert joins == on[-1]
        assert front.size == on.sum()
        assert (front.count, front.feasible) == (i, feasible[:i].sum())
        if front.feasible > 5:
            expected = whole_volume(values[:i], feasible[:i])
            assert front.hypervolume == pytest.approx(expected, abs=1e-9)
    assert front.hypervolume == pytest.approx(hypervolume_progress(values, feasible)[-1], abs=1e-6)


def test_the_curve_is_the_past_in_todays_box(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live_front, "MARKS", 1000)
    values, feasible = points(0)
    feasible[0] = True
    front = LiveFront(3)
    for value, good in zip(values, feasible, strict=True):
        front.add(value, bool(good))
    expected = hypervolume_progress(values, feasible)
    assert front.curve(len(values)) == pytest.approx(expected, abs=1e-6)
    assert front.curve(10**6) == front.curve(len(values))
    few = front.curve(10)
    assert len(few) == 10
    assert few == sorted(few)
    assert few[-1] == front.hypervolume


def test_few_marks_are_enough_for_a_curve_that_ends_right() -> None:
    values, feasible = points(1)
    front = LiveFront(3)
    for value, good in zip(values, feasible, strict=True):
        front.add(value, bool(good))
    curve = front.curve(20)
    assert curve == sorted(curve)
    assert curve[-1] == front.hypervolume


def test_a_point_within_the_box_changes_only_the_end_of_the_curve(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    front = LiveFront(2)
    for point in ([0.0, 1.0], [1.0, 0.0], [0.4, 0.4]):
        front.add(np.array(point), True)
    monkeypatch.setattr(front, "_remembered", None)  # an error if it is called
    before = front.hypervolume
    assert front.add(np.array([0.6, 0.6]), True)
    assert front.gain == pytest.approx(front.hypervolume - before)
    assert front.gain > 0
    assert not front.add(np.array([0.5, 0.5]), True)
    assert front.gain == 0.0
    assert front.size == 3


def test_the_gain_is_counted_in_the_box_of_today() -> None:
    front = LiveFront(2)
    values = np.array([[0.0, 1.0], [1.0, 0.0], [2.0, 0.5]])
    for value in values:
        front.add(value, True)
    before, after = hypervolume_progress(values, np.ones(3, dtype=bool))[1:]
    assert front.gain == pytest.approx(after - before, abs=1e-5)


def test_nothing_feasible_yet() -> None:
    front = LiveFront(2)
    assert not front.add(np.array([9.0, 9.0]), False)
    assert (front.count, front.feasible, front.size) == (1, 0, 0)
    assert front.hypervolume == 0.0
    assert front.curve(5) == []
    assert front.add(np.array([1.0, 1.0]), True)
    assert front.curve(0) == []
