from __future__ import annotations

import numpy as np
import pytest

from moenas.nas.front import contributions, hypervolume_progress, on_front

POINTS = np.array([[1.0, 3.0], [3.0, 1.0], [2.0, 2.0], [1.0, 1.0], [9.0, 9.0]])
GOOD = np.array([True, True, True, True, False])


def dominates(a: np.ndarray, b: np.ndarray) -> bool:
    return bool((a >= b).all() and (a > b).any())


def test_the_front_is_what_no_feasible_point_dominates() -> None:
    assert on_front(POINTS, GOOD).tolist() == [True, True, True, False, False]
    rng = np.random.default_rng(0)
    values, feasible = rng.random((40, 4)).round(1), rng.random(40) < 0.7
    expected = [
        bool(ok) and not any(dominates(b, a) for b in values[feasible])
        for a, ok in zip(values, feasible, strict=True)
    ]
    assert on_front(values, feasible).tolist() == expected


def test_equal_points_are_both_on_the_front() -> None:
    assert on_front(np.ones((2, 3)), np.array([True, True])).all()


def test_without_feasible_points_there_is_no_front() -> None:
    nothing = np.zeros(5, dtype=bool)
    assert not on_front(POINTS, nothing).any()
    assert hypervolume_progress(POINTS, nothing) == [0.0] * 5
    assert not contributions(POINTS, nothing).any()
    assert hypervolume_progress(np.empty((0, 2)), np.empty(0, dtype=bool)) == []


def test_the_hypervolume_never_falls_and_ignores_what_is_infeasible() -> None:
    progress = hypervolume_progress(POINTS[[3, 2, 4, 0, 1]], GOOD[[3, 2, 4, 0, 1]])
    assert progress == sorted(progress)
    assert progress[1] == progress[2]  # the infeasible point
    assert 0 < progress[0] < progress[1] < progress[3] < progress[4] < 1


def test_the_hypervolume_by_hand() -> None:
    """The reference is a tenth of the range below the worst: (0.8, 0.8), the ideal is (3, 3)."""
    whole = 2.2 * 2.2
    area = 0.2 * 2.2 + (1.2 - 0.2) * 1.2 + (2.2 - 1.2) * 0.2  # three steps of a staircase
    progress = hypervolume_progress(POINTS[:3], GOOD[:3])
    assert progress[-1] == pytest.approx(area / whole, abs=1e-6)


def test_the_scale_does_not_matter() -> None:
    scaled = POINTS * np.array([100.0, 1e-3]) + np.array([5.0, -2.0])
    assert hypervolume_progress(scaled, GOOD) == pytest.approx(
        hypervolume_progress(POINTS, GOOD), abs=1e-6
    )


def test_contributions_are_what_each_point_alone_adds() -> None:
    found = contributions(POINTS, GOOD)
    assert (found[:3] > 0).all()
    assert (found[3:] == 0).all()
    without = hypervolume_progress(POINTS[[0, 1]], GOOD[[0, 1]])[-1]
    assert found[2] == pytest.approx(
        hypervolume_progress(POINTS[:3], GOOD[:3])[-1] - without, abs=1e-5
    )


def test_points_that_are_all_equal_have_a_volume() -> None:
    values = np.full((3, 4), 0.5)
    progress = hypervolume_progress(values, np.ones(3, dtype=bool))
    assert all(np.isfinite(progress))
    assert progress[0] == progress[-1] > 0


def test_equal_points_have_what_one_of_them_adds() -> None:
    """They would add nothing beside each other: the best point of all would be the worst choice."""
    found = contributions(POINTS[[0, 2, 2, 3, 1]], np.ones(5, dtype=bool))
    assert found[1] == found[2] == contributions(POINTS[:3], GOOD[:3])[2] > 0
    assert found[3] == 0
