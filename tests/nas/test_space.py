"""Expert counts: sizes exactly those of `count_parameters`, feasible vectors, clear errors."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from moenas.errors import SearchError
from moenas.models.cost import count_parameters
from moenas.nas.space import SearchSpace

BASE = "mobilevitv2_050"
LAYERS = 9
vectors = st.lists(st.integers(1, 8), min_size=LAYERS, max_size=LAYERS)


@pytest.fixture(scope="module")
def space() -> SearchSpace:
    return SearchSpace(BASE, LAYERS, max_parameters=1_600_000)


@settings(max_examples=100, deadline=None)
@given(vector=vectors)
def test_sizes_are_exact(space, vector):
    assert space.parameters(np.array([vector]))[0] == count_parameters(BASE, tuple(vector))


def test_feasible_agrees_with_the_count(space):
    X = np.random.default_rng(0).integers(1, 9, (300, LAYERS))
    expected = [count_parameters(BASE, tuple(x)) <= 1_600_000 for x in X.tolist()]
    assert space.feasible(X).tolist() == expected
    assert any(expected)
    assert not all(expected)


def test_range_is_part_of_feasible():
    space = SearchSpace(BASE, LAYERS, low=2, high=5)
    X = np.full((4, LAYERS), 3)
    X[1, 0], X[2, 8], X[3, 4] = 1, 6, 5
    assert space.feasible(X).tolist() == [True, False, False, True]


@settings(max_examples=30, deadline=None)
@given(limit=st.integers(1_115_000, 3_900_000), seed=st.integers(0, 2**31))
def test_sample_and_repair_keep_the_limit(limit, seed):
    space = SearchSpace(BASE, LAYERS, max_parameters=limit)
    rng = np.random.default_rng(seed)
    assert space.feasible(space.sample(20, rng)).all()
    X = rng.integers(1, 12, (20, LAYERS))
    fixed = space.repair(X, rng)
    assert space.feasible(fixed).all()
    fine = space.feasible(X)
    assert (fixed[fine] == X[fine]).all()  # what was fine is left alone


def test_repair_stays_near_the_limit(space):
    """Shrinking one expert at a time ends just below the limit, not at the smallest vector."""
    fixed = space.repair(np.full((50, LAYERS), 8), np.random.default_rng(0))
    assert space.parameters(fixed).mean() > 0.95 * 1_600_000


def test_constraint_agrees_with_feasible(space):
    X = np.random.default_rng(1).integers(1, 9, (40, LAYERS))
    one_by_one = np.array([space.constraint(space.encode(x)) for x in X])
    together = space.constraint.many({n: X[:, i] for i, n in enumerate(space.names)})
    np.testing.assert_array_equal(one_by_one, together)
    np.testing.assert_array_equal(one_by_one <= 0, space.feasible(X))


def test_without_a_limit_all_is_feasible():
    space = SearchSpace(BASE, LAYERS)
    assert space.feasible(np.full((1, LAYERS), 8)).all()
    assert space.constraint(space.encode([8] * LAYERS)) < 0


def test_encode_and_decode_are_inverse(space):
    vector = (1, 8, 3, 1, 2, 4, 1, 1, 6)
    assert space.decode(space.encode(vector)) == vector
    assert tuple(space.distributions()) == space.names == tuple(f"e{i}" for i in range(1, 10))


def test_limit_that_nothing_meets():
    with pytest.raises(SearchError, match=r"No vector meets.*1,000,000"):
        SearchSpace(BASE, LAYERS, max_parameters=1_000_000)


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"layers": 8}, "9 S-FFN layers"),
        ({"layers": 9, "low": 0}, "no range"),
        ({"layers": 9, "low": 5, "high": 4}, "no range"),
        ({"layers": 9, "high": 9}, "no range"),
    ],
)
def test_bad_spaces_are_named(kwargs, message):
    with pytest.raises(SearchError, match=message):
        SearchSpace(BASE, **kwargs)


def test_bad_vectors_are_named(space):
    with pytest.raises(SearchError, match="shape"):
        space.parameters(np.ones((2, 8), dtype=int))
    with pytest.raises(SearchError, match=r"1\.\.8"):
        space.parameters(np.full((1, 9), 9))
    with pytest.raises(SearchError, match="9 expert counts"):
        space.encode([1, 2])
    with pytest.raises(SearchError, match="e2"):
        space.decode({n: 1 for n in space.names if n != "e2"})
