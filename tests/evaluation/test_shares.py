import numpy as np
import pytest
from simulated_predictions import at_least, logistic

from moenas.evaluation.statistics.intervals import wilson
from moenas.evaluation.statistics.shares import cluster_shares, combination


def one_cluster_each(successes, n):
    """Counts of n single images."""
    return np.array([n - successes, successes]), np.array([[1.0], [1.0]]), np.array([[0.0], [1.0]])


def test_single_images_have_wilson_s_interval():
    shares = cluster_shares(*one_cluster_each(180, 200))
    low, high = wilson(0.9 * 199, 199, degrees=199)
    assert shares.value == pytest.approx(0.9)
    assert shares.low[0] == pytest.approx(float(low), abs=1e-12)
    assert shares.high[0] == pytest.approx(float(high), abs=1e-12)


def test_all_right_still_has_a_width():
    shares = cluster_shares(*one_cluster_each(50, 50))
    assert shares.high == 1
    assert shares.low[0] == pytest.approx(float(wilson(50, 50, degrees=49)[0]))
    together = cluster_shares(np.array([5]), np.array([[10.0]]), np.array([[10.0]]))
    assert together.low < shares.low - 0.2  # five clusters know less than fifty images


def test_nothing_is_known_without_images_or_of_one_cluster():
    empty = cluster_shares(np.array([3]), np.zeros((1, 1)), np.zeros((1, 1)))
    assert np.isnan(empty.value[0])
    assert (empty.low[0], empty.high[0]) == (0, 1)
    alone = cluster_shares(np.array([1]), np.array([[80.0]]), np.array([[40.0]]))
    assert alone.high[0] - alone.low[0] > 0.7


def test_shares_of_common_clusters_are_correlated():
    rng = np.random.default_rng(0)
    ease = rng.random((200, 1))
    correct = np.hstack([ease, ease, 1 - ease])
    shares = cluster_shares(np.ones(200, dtype=int), np.ones((200, 3)), correct)
    assert shares.correlation[0, 1] == pytest.approx(1)
    assert shares.correlation[0, 2] == pytest.approx(-1)
    gap = combination([[1.0, -1.0, 0.0]], [shares])
    assert gap == pytest.approx((0, 0), abs=0.002)
    away = combination([[1.0, 0.0, -1.0]], [shares])
    apart = combination([[1.0], [-1.0]], [_only(shares, 0), _only(shares, 2)])
    assert away[1] - away[0] > 1.3 * (apart[1] - apart[0])


def _only(shares, index):
    return cluster_shares(*one_cluster_each(int(200 * shares.value[index]), 200))


def test_a_combination_with_an_undefined_share_is_none_unless_its_factor_is_zero():
    counts = np.array([4, 4]), np.array([[1.0, 0.0], [1.0, 0.0]]), np.array([[1.0, 0], [0, 0]])
    shares = cluster_shares(*counts)
    assert combination([[0.5, 0.5]], [shares]) is None
    assert combination([[1.0, 0.0]], [shares]) is not None


@pytest.mark.parametrize(("clusters", "accuracy"), [(30, 0.9), (12, 0.96), (12, 0.75)])
def test_intervals_cover_in_simulation(clusters, accuracy):
    """Shares and their difference, of clusters that vary in difficulty and size."""
    rng = np.random.default_rng(0)
    base = np.log(accuracy / (1 - accuracy))
    effect = rng.normal(0, 0.7, 200_000)
    truth = logistic(base + effect).mean(), logistic(base - 0.4 + effect).mean()
    trials, hits = 1500, np.zeros(3)
    for _ in range(trials):
        size = rng.integers(5, 30, clusters)
        ease = base + rng.normal(0, 0.7, clusters)
        correct = np.stack(
            [rng.binomial(size, logistic(ease)), rng.binomial(size, logistic(ease - 0.4))], axis=1
        )
        total = np.stack([size, size], axis=1).astype(float)
        shares = cluster_shares(np.ones(clusters, dtype=int), total, correct.astype(float))
        low, high = combination([[1.0, -1.0]], [shares])
        hits[:2] += (shares.low <= truth) & (truth <= shares.high)
        hits[2] += low <= truth[0] - truth[1] <= high
    assert (hits / trials > at_least(0.94, trials)).all(), hits / trials
    assert (hits / trials < 0.985).all(), hits / trials
