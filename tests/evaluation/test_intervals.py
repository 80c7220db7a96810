import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from moenas.errors import DataError
from moenas.evaluation.statistics.intervals import (
    half_width,
    p_value,
    satterthwaite,
    t_interval,
    wilson,
)


@given(st.integers(1, 5000).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_wilson_equals_scipy(counts):
    k, n = counts
    expected = stats.binomtest(k, n).proportion_ci(method="wilson")
    low, high = wilson(k, n)
    assert low == pytest.approx(expected.low, abs=1e-12)
    assert high == pytest.approx(expected.high, abs=1e-12)


def test_wilson_is_vectorised_and_knows_nothing_of_nothing():
    low, high = wilson([0, 5, 10], [0, 10, 10])
    assert (low[0], high[0]) == (0, 1)
    assert high[2] == 1
    assert low[1] + high[1] == pytest.approx(1)


def test_few_clusters_widen_wilson():
    low, high = wilson(90, 100, degrees=[4, 40, np.inf])
    assert (np.diff(low) > 0).all()
    assert (np.diff(high) < 0).all()


@pytest.mark.parametrize(("k", "n"), [(-1, 5), (6, 5), (float("nan"), 5)])
def test_wilson_refuses_impossible_counts(k, n):
    with pytest.raises(DataError, match="between 0 and the number of trials"):
        wilson(k, n)


def test_wilson_refuses_an_impossible_confidence():
    with pytest.raises(DataError, match="confidence is 95"):
        wilson(1, 2, confidence=95)


def test_t_interval_and_p_value_are_welch_s():
    rng = np.random.default_rng(0)
    a, b = rng.normal(0, 1, 5), rng.normal(0.5, 3, 9)
    oracle = stats.ttest_ind(a, b, equal_var=False)
    parts = [a.var(ddof=1) / 5, b.var(ddof=1) / 9]
    degrees = satterthwaite(parts, [4, 8])
    assert degrees == pytest.approx(oracle.df, abs=1e-12)
    value = a.mean() - b.mean()
    assert p_value(value, [(sum(parts), degrees)]) == pytest.approx(oracle.pvalue, abs=1e-12)
    low, high = t_interval(value, sum(parts), degrees)
    expected = oracle.confidence_interval()
    assert (low, high) == pytest.approx((expected.low, expected.high), abs=1e-12)


def test_a_sum_of_variances_has_banerjees_interval():
    parts = [(1.0, 2), (4.0, 30), (0.0, 1)]
    quantiles = stats.t.ppf(0.975, [2, 30])
    half = np.sqrt(quantiles[0] ** 2 + 4 * quantiles[1] ** 2)
    assert half_width(parts) == pytest.approx(half)
    assert p_value(half, parts) == p_value(-half, parts) == pytest.approx(0.05)


@pytest.mark.parametrize(
    ("value", "parts"),
    [
        (0.09582426607571427, [(0.00010778335149446416, 1), (2.6956834088095203e-22, 8.0)]),
        (0.026716811621765986, [(1.0252752409925093e-05, 2), (8.866797366371736e-22, 8.0)]),
        (0.415249533001769, [(3.5411101023761808e-06, 1), (1.3789827218286424e-18, 5.0)]),
    ],
)
def test_a_part_that_is_a_rounding_error_adds_nothing(value, parts):
    """Constant draws have such a variance; the search for the p-value found no sign to change."""
    assert p_value(value, parts) == pytest.approx(p_value(value, parts[:1]), rel=1e-9)


def test_p_values_are_never_0():
    assert p_value(0.0, [(1.0, 3)]) == p_value(0.0, [(0.0, 3)]) == 1
    assert p_value(0.1, [(0.0, 3)]) == p_value(0.1, []) == 1  # nothing to judge by
    assert p_value(1e9, [(1.0, np.inf)]) == p_value(1e9, [(1.0, np.inf), (1e-9, 90)]) == 1e-300
    assert p_value(1e6, [(1e-30, 1), (1.0, 1e9)]) == pytest.approx(6.4e-22, rel=0.01)


def test_without_variance_the_fewest_degrees_of_freedom_count():
    assert satterthwaite([0.0, 0.0], [2, 3]) == 2
