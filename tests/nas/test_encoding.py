"""Grids: parameters to rows and back, features, and the rows that the constraint leaves."""

from __future__ import annotations

import numpy as np
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from moenas.errors import SearchError
from moenas.nas.candidates import all_feasible, evolve, mutate, neighbours, offspring, spread
from moenas.nas.encoding import MAX_LEVELS, Grid
from moenas.nas.feasibility import Feasibility

SPACE = {
    "n": IntDistribution(1, 8),
    "even": IntDistribution(-4, 4, step=2),
    "wide": IntDistribution(1, 100_000, log=True),
    "rate": FloatDistribution(1e-5, 1.0, log=True),
    "half": FloatDistribution(0, 10, step=0.5),
    "kind": CategoricalDistribution(["a", None, 1, True, 2.5]),
    "one": IntDistribution(3, 3),
}


@pytest.fixture
def grid() -> Grid:
    return Grid(SPACE)


def test_rows_survive_the_way_there_and_back(grid):
    for row in grid.random(200, np.random.default_rng(0)):
        assert grid.encode(grid.decode(row)) == tuple(row)


def test_all_values_are_of_the_distributions(grid):
    for name, levels in zip(grid.names, grid.values, strict=True):
        d = SPACE[name]
        assert all(d._contains(d.to_internal_repr(v)) for v in levels)
        assert len(set(map(repr, levels))) == len(levels) <= MAX_LEVELS
    assert grid.values[1] == [-4, -2, 0, 2, 4]
    assert grid.values[2][0] == 1
    assert grid.values[2][-1] == 100_000


def test_values_between_levels_take_the_nearest():
    grid = Grid({"x": FloatDistribution(0, 1)})
    assert grid.encode({"x": 0.50001}) == (500,)


@pytest.mark.parametrize(
    "params", [{}, {"n": 1}, {"n": 9, "kind": "a"}, {"n": 1, "kind": "z"}, {"n": "x", "kind": "a"}]
)
def test_points_of_other_spaces_are_no_rows(params):
    assert Grid({"n": SPACE["n"], "kind": SPACE["kind"]}).encode(params) is None


@pytest.mark.filterwarnings("ignore:Choices for a categorical distribution")
@pytest.mark.parametrize("kind", [list, tuple])
def test_choices_may_be_of_several_numbers(kind):
    """Optuna takes them, with a warning; each is one value, also for constraints on columns."""
    choices = [kind([3, 1]), kind([2, 2])]
    grid = Grid({"layers": CategoricalDistribution(choices), "n": SPACE["n"]})
    assert grid.encode({"layers": kind([2, 2]), "n": 1}) == (1, 0)
    assert grid.encode({"layers": kind([9]), "n": 1}) is None
    assert grid.columns(np.array([[0, 0], [1, 2], [1, 0]]))["layers"].tolist() == [
        choices[k] for k in (0, 1, 1)
    ]


def test_features_are_positions_and_one_hot(grid):
    X = grid.random(50, np.random.default_rng(0))
    F = grid.features(X)
    assert F.shape == (50, 11)
    assert F.min() >= 0
    assert F.max() <= 1
    assert grid.feature_groups().tolist() == [0, 1, 2, 3, 4, 5, 5, 5, 5, 5, 6]
    assert (F[:, 5:10].sum(axis=1) == 1).all()


def test_log_positions_are_even_in_the_logarithm():
    grid = Grid({"x": IntDistribution(1, 16, log=True)})
    at = grid.features(np.array([[0], [1], [3], [7], [15]]))[:, 0]
    np.testing.assert_allclose(at, [0, 0.25, 0.5, 0.75, 1])


def test_empty_space_is_refused():
    with pytest.raises(SearchError, match="at least one"):
        Grid({})


def box(limit: float = 12.0) -> Feasibility:
    grid = Grid({f"x{i}": IntDistribution(0, 7) for i in range(4)})
    return Feasibility(grid, lambda p: sum(p.values()) - limit)


def test_operators_keep_feasible():
    space, rng = box(), np.random.default_rng(0)
    X = space.sample(60, rng)
    assert space(X).all()
    assert space(space.sample_around(0.9, 60, rng)).all()
    assert space(offspring(X, 60, space, rng)).all()
    mutants = mutate(X, space.grid, rng)
    assert mutants.min() >= 0
    assert mutants.max() <= 7
    assert space(space.repair(mutants, X, rng)).all()


def test_levels_reach_the_small_and_the_large():
    space, rng = box(28), np.random.default_rng(0)
    means = [space.sample_around(level, 100, rng).mean() for level in (0.1, 0.5, 0.9)]
    assert means[0] < 1.5 < 3 < means[1] < 4 < 5.5 < means[2]


def test_evolution_finds_the_front():
    space, rng = box(), np.random.default_rng(0)

    def score(X: np.ndarray) -> np.ndarray:
        return np.stack([X[:, 0] - X[:, 1], X[:, 1] - X[:, 2]], axis=1).astype(float)

    Y = score(evolve(score, space.sample(5, rng), space, rng, generations=15))
    assert Y[:, 0].max() == 7
    assert Y[:, 1].max() == 7
    assert Y.sum(axis=1).max() == 7


def test_listing_and_neighbours():
    space = box(2)
    X = all_feasible(space)
    assert len(X) == 15  # choose at most two of four, with repetition
    assert space(X).all()
    near = neighbours(np.array([[0, 7, 3, 3]]), space.grid)
    assert len(near) == 7
    assert np.abs(near - [0, 7, 3, 3]).sum(axis=1).max() == 1


def test_spread_takes_the_farthest():
    points = np.array([[0.0, 0.0], [1.0, 1.0]])
    assert spread(np.array([[0.1, 0.0], [0.0, 1.0], [0.9, 0.9]]), points) == 1
    assert spread(points, np.zeros((0, 2))) == 0
