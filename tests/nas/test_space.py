"""Expert counts: sizes exactly those of `count_parameters`, feasible vectors, clear errors."""

from __future__ import annotations

import numpy as np
import optuna
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from latency_tables import make_table
from moenas.errors import ConfigError, SearchError
from moenas.models.architecture import Architecture
from moenas.models.cost import count_parameters
from moenas.nas.sampler import MoENASSampler
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


# Widths

WIDE = "mobilevitv2_075"


@pytest.fixture(scope="module")
def widths() -> SearchSpace:
    return SearchSpace(BASE, LAYERS, max_parameters=5_500_000, wider=(WIDE,))


@settings(max_examples=50, deadline=None)
@given(vector=vectors, base=st.sampled_from([BASE, WIDE]))
def test_sizes_of_every_width_are_exact(widths, vector, base):
    assert widths.parameters([vector], [base])[0] == count_parameters(base, tuple(vector))


def test_a_point_of_several_widths_names_its_base(widths):
    names = ("base", *widths.names)
    assert tuple(widths.distributions()) == names
    ones = widths.encode((1,) * LAYERS)
    assert ones["base"] == BASE
    assert widths.architecture(ones | {"base": WIDE, "e3": 4}).id == f"{WIDE}-e114111111"
    assert widths.architecture(dict.fromkeys(widths.names, 2)).base == BASE


def test_the_constraint_knows_the_width(widths):
    X = np.random.default_rng(1).integers(1, 9, (40, LAYERS))
    bases = [BASE, WIDE] * 20
    one_by_one = np.array(
        [widths.constraint(widths.encode(x) | {"base": b}) for x, b in zip(X, bases, strict=True)]
    )
    columns = {n: X[:, i] for i, n in enumerate(widths.names)}
    columns["base"] = np.array(bases, dtype=object)
    np.testing.assert_array_equal(one_by_one, widths.constraint.many(columns))
    assert 0 < (one_by_one[1::2] <= 0).sum() < 20  # of the wider ones some fit
    assert (one_by_one[::2] <= 0).all() == widths.feasible(X[::2]).all()


def test_a_base_that_is_not_of_the_space(widths):
    with pytest.raises(SearchError, match="'resnet18' is none of mobilevitv2_050, mobilevitv2_075"):
        widths.parameters([[1] * LAYERS], ["resnet18"])
    with pytest.raises(SearchError, match="'convnext_atto' has 12 S-FFN layers"):
        SearchSpace(BASE, LAYERS, wider=("convnext_atto",))


# Latency


@pytest.fixture(scope="module")
def timed() -> SearchSpace:
    """Sizes and latencies pull apart: late layers are large, the table makes early ones slow."""
    return SearchSpace(
        BASE,
        LAYERS,
        max_parameters=2_600_000,
        wider=("mobilevitv2_075",),
        max_latency_ms=6.2,
        latency=make_table({BASE: 5.0, "mobilevitv2_075": 5.5}),
    )


def test_both_limits_hold(timed):
    rng = np.random.default_rng(0)
    X = rng.integers(1, 9, (400, LAYERS))
    bases = rng.choice(timed.bases, 400).tolist()
    small = timed.parameters(X, bases) <= 2_600_000
    fast = timed.latency.milliseconds(X, bases) <= 6.2
    assert ((timed.excess(X, bases) <= 0) == (small & fast)).all()
    assert (small & ~fast).any()
    assert (fast & ~small).any()
    one = timed.of(BASE)
    assert one.feasible(one.sample(200, rng)).all()
    assert one.feasible(one.repair(np.full((20, LAYERS), 8), rng)).all()


def test_the_sampler_proposes_nothing_above_a_limit(timed):
    space = timed
    sampler = MoENASSampler(
        seed=0, constraint=space.constraint, search_space=space.distributions(), initial=8
    )
    study = optuna.create_study(directions=["maximize", "minimize"], sampler=sampler)
    for _ in range(24):
        trial = study.ask(space.distributions())
        architecture = space.architecture(trial.params)
        costs = space.costs(architecture)
        assert costs["latency_ms"] <= 6.2
        assert costs["parameters"] <= 2_600_000
        study.tell(trial, [float(sum(architecture.experts)), costs["latency_ms"]])


def test_costs_of_an_architecture(timed):
    architecture = Architecture(BASE, (1, 8, 3, 1, 2, 4, 1, 1, 6))
    costs = timed.costs(architecture)
    assert costs["parameters"] == count_parameters(BASE, architecture.experts)
    assert costs["latency_ms"] == timed.latency.of(architecture)
    assert set(SearchSpace(BASE, LAYERS).costs(architecture)) == {"parameters"}


def test_a_latency_limit_that_nothing_meets():
    with pytest.raises(SearchError, match=r"takes 5 ms, the limit is 4.9 ms. Raise the limit"):
        SearchSpace(BASE, LAYERS, max_latency_ms=4.9, latency=make_table())
    assert SearchSpace(BASE, LAYERS, max_latency_ms=5.0, latency=make_table()).fastest == 5.0


def test_a_latency_limit_needs_a_table_of_its_models():
    with pytest.raises(SearchError, match="no latency table"):
        SearchSpace(BASE, LAYERS, max_latency_ms=6.0)
    table = make_table({BASE: 5.0})
    with pytest.raises(ConfigError, match="no base model 'mobilevitv2_075'"):
        SearchSpace(BASE, LAYERS, wider=("mobilevitv2_075",), latency=table)
