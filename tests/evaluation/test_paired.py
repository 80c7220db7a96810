import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from simulated_predictions import scenes, shuffled
from statsmodels.stats.power import NormalIndPower

from moenas.errors import DataError
from moenas.evaluation.statistics import (
    clustered_mcnemar,
    holm,
    mcnemar,
    mcnemar_test,
    minimum_detectable_gap,
)
from moenas.predictions import Predictions


@given(st.integers(0, 300), st.integers(0, 300))
def test_mcnemar_equals_scipy_s_sign_test_and_mid_p_is_half_a_case_less(one, two):
    exact = mcnemar(one, two, mid_p=False)
    expected = stats.binomtest(one, one + two).pvalue if one + two else 1.0
    assert exact == pytest.approx(expected, abs=1e-12)
    case = stats.binom.pmf(min(one, two), one + two, 0.5)
    expected = 1.0 if one == two else exact - case
    assert mcnemar(one, two) == pytest.approx(expected, abs=1e-9)


def test_mcnemar_of_equal_models_is_one():
    assert mcnemar(0, 0) == 1.0
    assert mcnemar(7, 7) == pytest.approx(1.0)
    one = scenes(0)
    assert mcnemar_test(one, shuffled(one)) == 1.0


def test_mcnemar_test_counts_the_images_that_one_model_alone_gets_right():
    one = scenes(0)
    prediction = one.frame["prediction"].to_numpy().copy()
    label = one.frame["label"].to_numpy()
    first_of_cluster = ~one.frame["cluster"].duplicated()
    wrong = np.flatnonzero(one.correct & first_of_cluster)[:12]
    prediction[wrong] = 1 - label[wrong]
    two = Predictions(one.frame.assign(prediction=prediction))
    assert mcnemar_test(one, shuffled(two)) == pytest.approx(mcnemar(12, 0))
    together = (Predictions(t.frame.assign(cluster="one")) for t in (one, two))
    assert mcnemar_test(*together) == pytest.approx(0.5)


def test_mcnemar_s_false_alarms_in_simulation():
    rng = np.random.default_rng(0)
    alarms = [mcnemar(k, 40 - k) <= 0.05 for k in rng.binomial(40, 0.5, 4000)]
    assert np.mean(alarms) <= 0.055


@given(st.lists(st.floats(0, 1), min_size=1, max_size=7))
def test_holm_is_the_closed_test_of_bonferroni(p_values):
    """By definition: a hypothesis falls with all families that it is in."""
    indices = range(len(p_values))
    families = [f for k in range(len(p_values)) for f in itertools.combinations(indices, k + 1)]
    for index, adjusted in enumerate(holm(p_values)):
        mine = [f for f in families if index in f]
        expected = max(min(1, len(f) * min(p_values[i] for i in f)) for f in mine)
        assert adjusted == pytest.approx(expected, abs=1e-12)


def test_holm_of_nothing_is_nothing_and_nonsense_is_an_error():
    assert holm([]) == []
    with pytest.raises(DataError, match="not between 0 and 1"):
        holm([0.1, 1.2])
    with pytest.raises(DataError, match="negative"):
        mcnemar(-1, 3)


def test_the_minimum_detectable_gap_is_found_with_its_power():
    gap = float(minimum_detectable_gap(400, 1600, 0.9))
    rng = np.random.default_rng(0)
    one, two = (
        rng.binomial(400, 0.9 - gap / 2, 4000) / 400,
        rng.binomial(1600, 0.9 + gap / 2, 4000) / 1600,
    )
    pooled = (one * 400 + two * 1600) / 2000
    z = (two - one) / np.sqrt(pooled * (1 - pooled) * (1 / 400 + 1 / 1600))
    assert np.mean(np.abs(z) > 1.96) == pytest.approx(0.8, abs=0.04)
    assert minimum_detectable_gap([100, 400], 400, 0.9).shape == (2,)


@pytest.mark.parametrize("power", [0.5, 0.8, 0.95])
def test_the_minimum_detectable_gap_is_statsmodels(power):
    effect = NormalIndPower().solve_power(
        nobs1=400, ratio=4, alpha=0.05, power=power, alternative="larger"
    )
    gap = minimum_detectable_gap(400, 1600, 0.9, power=power, level=0.1)
    assert gap == pytest.approx(effect * np.sqrt(0.9 * 0.1), rel=1e-5)


@pytest.mark.parametrize("args", [(0, 5, 0.9), (5, 5, 1.2)])
def test_the_minimum_detectable_gap_refuses_nonsense(args):
    with pytest.raises(DataError):
        minimum_detectable_gap(*args)


@pytest.mark.parametrize("unit", [1.0, 25_013.0, 0.013])
@pytest.mark.parametrize(("first", "second"), [(4, 0), (7, 2), (3, 3), (30, 14)])
def test_weights_of_a_few_answers_do_not_make_them_normal(first, second, unit):
    """Persons and empty scenes are weighed to count alike: by thousands where there are many."""
    net = unit * np.r_[np.ones(first), -np.ones(second), np.zeros(50)]
    for mid_p in (True, False):
        expected = mcnemar(first, second, mid_p=mid_p)
        assert clustered_mcnemar(net, mid_p=mid_p) == pytest.approx(expected, rel=1e-9)


def test_uneven_weights_are_swapped_one_by_one():
    net = np.array([0.7, 1.1, -0.4, 2.3, 0.9])
    sums = np.array([signs @ np.abs(net) for signs in itertools.product([-1, 1], repeat=5)])
    assert clustered_mcnemar(net, mid_p=False) == pytest.approx(
        (np.abs(sums) >= net.sum() - 1e-9).mean()
    )
