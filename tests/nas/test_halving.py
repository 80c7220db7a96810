from __future__ import annotations

import numpy as np
import pytest

from moenas.errors import ConfigError
from moenas.nas.halving import Halving, extrapolated, ranking


def test_lengths_grow_threefold_up_to_the_full_one() -> None:
    halving = Halving(3)
    assert [halving.share(rung) for rung in range(3)] == pytest.approx([1 / 9, 1 / 3, 1])
    assert halving.last == 2
    assert Halving().share(0) == 1
    with pytest.raises(ConfigError, match="rungs must be at least 1"):
        Halving(0)


def test_points_are_ranked_by_front_then_by_contribution() -> None:
    values = np.array(
        [
            [0.0, 1.0],
            [1.0, 0.0],
            [0.9, 0.9],  # adds most to the first front
            [0.1, 0.1],  # third front
            [0.5, 0.5],  # second front
            [2.0, 2.0],  # best of all, but infeasible
        ]
    )
    feasible = np.array([True] * 5 + [False])
    order = ranking(values, feasible).tolist()
    assert order[0] == 2
    assert set(order[1:3]) == {0, 1}
    assert order[3:] == [4, 3, 5]


def test_the_best_third_goes_on() -> None:
    rng = np.random.default_rng(0)
    values = rng.normal(size=(300, 3))
    gone_on = sum(
        Halving(2).goes_on(values[: n + 1], np.ones(n + 1, dtype=bool)) for n in range(300)
    )
    assert 70 < gone_on < 150
    best = np.concatenate([values, [[9.0, 9.0, 9.0]]])
    assert Halving(2).goes_on(best, np.ones(301, dtype=bool))
    assert not Halving(2).goes_on(best, np.arange(301) < 300)  # infeasible
    assert not Halving(2).goes_on(np.concatenate([values, [[-9.0] * 3]]), np.ones(301, dtype=bool))


def test_the_first_of_all_goes_on() -> None:
    assert Halving(2).goes_on(np.zeros((1, 2)), np.array([True]))
    assert not Halving(2).goes_on(np.zeros((1, 2)), np.array([False]))


def test_a_guess_adds_what_others_gained() -> None:
    short = np.array([[0.5, 0.1], [0.6, 0.2], [0.1, 0.3]])
    full = np.array([[0.6, 0.1], [0.8, 0.1], [0.9, 0.2]])
    guess = extrapolated(np.array([0.4, 0.4]), short, full)
    assert guess == pytest.approx([0.6, 0.3])
    none = np.empty((0, 2))
    assert extrapolated(np.array([0.4, 0.4]), none, none) == pytest.approx([0.4, 0.4])
