"""Hypervolume improvements against brute force, and the front's reference."""

from __future__ import annotations

import moocore
import numpy as np
import pytest

from moenas.nas.acquisition import front_mask, improvements, mc_hvi, reference


@pytest.mark.parametrize("objectives", [1, 2, 3, 4, 5])
def test_improvement_is_the_difference_of_hypervolumes(objectives):
    rng = np.random.default_rng(objectives)
    front = rng.random((15, objectives)) - 0.1
    points = rng.random((25, objectives)) * 1.2 - 0.1
    origin = np.zeros(objectives)

    def volume(Y: np.ndarray) -> float:
        return float(moocore.hypervolume(np.maximum(Y, 0), ref=origin, maximise=True))

    expected = [volume(np.vstack([front, p])) - volume(front) for p in points]
    expected = np.where((points > 0).all(axis=1), expected, 0.0)
    np.testing.assert_allclose(improvements(front, points), expected, atol=1e-12)


def test_improvement_over_an_empty_front_is_the_box():
    points = np.array([[0.5, 0.4], [-1.0, 2.0], [1.0, 1.0]])
    np.testing.assert_allclose(improvements(np.zeros((0, 2)), points), [0.2, 0.0, 1.0])


def test_dominated_points_add_nothing():
    front = np.array([[1.0, 1.0, 1.0]])
    points = np.array([[0.5, 0.5, 0.5], [1.0, 1.0, 1.0], [1.0, 1.0, 1.5]])
    np.testing.assert_allclose(improvements(front, points), [0, 0, 0.5])


def test_pending_points_take_their_share():
    """A candidate like a pending one adds nothing in the draws, where it added before."""
    front = np.array([[0.5, 0.5]])
    drawn = np.array([[[0.9, 0.6], [0.4, 0.9]], [[0.8, 0.7], [0.4, 1.0]]])
    known = np.repeat(front[None], 2, axis=0)
    free = mc_hvi(known, drawn)
    taken = mc_hvi(np.concatenate([known, drawn[:, :1]], axis=1), drawn)
    assert free[0] > 0
    assert taken[0] == pytest.approx(0)
    assert 0 < taken[1] <= free[1]


def test_front_mask_takes_equal_rows_once():
    Y = np.array([[1.0, 2.0], [2.0, 1.0], [1.0, 2.0], [0.5, 0.5]])
    assert front_mask(Y).sum() == 2
    assert not front_mask(Y)[3]
    assert len(front_mask(np.zeros((0, 2)))) == 0


def test_reference_lies_below_the_front_in_every_objective():
    Y = np.array([[1.0, 10.0, 5.0], [2.0, 4.0, 5.0]])
    low, scale = reference(Y, np.vstack([Y, [[0.0, 0.0, 3.0]]]))
    assert (low < Y.min(axis=0)).all()
    np.testing.assert_allclose(scale, [1.0, 6.0, 2.0])  # the flat one takes the range of all
    low, scale = reference(np.zeros((0, 1)), np.zeros((3, 1)))
    assert scale[0] == 1
    assert low[0] < 0


def test_each_draw_has_its_own_front():
    """A candidate that only one of two draws sees beyond the known point gains half of it."""
    known = np.array([[[0.5, 0.5]], [[1.0, 1.0]]])
    candidate = np.array([[[1.0, 1.0]], [[1.0, 1.0]]])
    np.testing.assert_allclose(mc_hvi(known, candidate), [0.375])
