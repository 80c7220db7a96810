import numpy as np
import pytest
from scipy import stats
from simulated_predictions import at_least, at_most

from moenas.evaluation.statistics.intervals import p_value
from moenas.evaluation.statistics.seeds import Seeds, difference_chance, mean_chance

LEVELS = (0.05, 0.01, 0.003)
"""5 %, and what Holm's method asks of the first of 5 and of 16 tests."""


UNIT = np.hstack([np.eye(12), -np.eye(12)]) * np.sqrt(12)
"""Resamples of what is uncorrelated and has variance 1."""


def trained(k, rng, *, seeds, images, own, truth=0.0, degrees=30, unit=UNIT[:6]):
    """A model of k seeds on one set of images.

    Standard deviations: ``seeds`` of training, ``images`` of what the images do to all seeds,
    ``own`` of what they do to one seed. Its resamples have exactly the covariance that clusters
    would have told, which is an estimate too.
    """
    values = truth + rng.normal(0, images) + rng.normal(0, np.hypot(seeds, own), k)
    together = images * np.sqrt(rng.chisquare(degrees) / degrees)
    alone = own * np.sqrt(rng.chisquare(degrees, k) / degrees)
    moved = together * unit[0] + alone[:, None] * unit[1 : k + 1]
    return Seeds(values, values[:, None] + moved, degrees)


def pair(k, other, rng, *, truth=0.0, **own):
    """Two models on the same images, which do other things to each."""
    first = trained(k, rng, truth=truth, **own)
    return first, trained(other, rng, **own, unit=UNIT[6:])


CASES = {
    "only seeds": {"seeds": 1.0, "images": 0.05, "own": 0.05},
    "seeds rule": {"seeds": 1.0, "images": 0.2, "own": 0.2},
    "images rule": {"seeds": 0.1, "images": 1.0, "own": 0.2},
    "images do other things to each seed": {"seeds": 0.2, "images": 0.2, "own": 1.0},
    "all alike": {"seeds": 1.0, "images": 1.0, "own": 1.0},
}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("k", [2, 5])
def test_intervals_of_means_cover(case, k):
    rng = np.random.default_rng(0)
    trials, hits = 1000, 0
    for _ in range(trials):
        seeds = trained(k, rng, **CASES[case])
        low, high = mean_chance(seeds).interval(seeds.mean)
        hits += low <= 0 <= high
    assert at_least(0.95, trials) <= hits / trials


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize(("k", "other"), [(2, 2), (3, 3), (5, 5), (3, 1), (2, 5)])
def test_equal_models_are_told_apart_no_oftener_than_the_level_says(case, k, other):
    """At Holm's levels, too: two or three seeds alike by luck must not look like certainty."""
    rng = np.random.default_rng(1)
    found = []
    for _ in range(1200):
        first, second = pair(k, other, rng, **CASES[case])
        found.append(difference_chance(first, second).p_value(first.mean - second.mean))
    assert min(found) > 0
    for level in LEVELS:
        assert np.mean(np.array(found) < level) <= at_most(level, len(found))


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize(("k", "least"), [(3, (0.75, 0.05)), (5, (0.95, 0.45))])
def test_real_differences_are_found(case, k, least):
    """Of six standard errors, at 5 % and at Holm's level of 12 tests."""
    rng = np.random.default_rng(2)
    own = CASES[case]
    error = np.sqrt(2 * (own["images"] ** 2 + (own["seeds"] ** 2 + own["own"] ** 2) / k))
    found = []
    for _ in range(300):
        first, second = pair(k, k, rng, **own, truth=6 * error)
        found.append(difference_chance(first, second).p_value(first.mean - second.mean))
    for level, share in zip((0.05, 0.004), least, strict=True):
        assert np.mean(np.array(found) < level) >= share


def test_an_interval_ends_at_0_where_p_is_5_percent():
    rng = np.random.default_rng(0)
    chance = difference_chance(*pair(3, 3, rng, **CASES["all alike"]))
    low, _ = chance.interval(0.0)
    assert chance.p_value(low) == pytest.approx(0.05, abs=1e-9)


@pytest.mark.parametrize("k", [2, 3])
def test_seeds_alike_by_luck_are_as_sure_as_the_images(k):
    """Every seed is better by the same: the seeds seem to say that nothing varies."""
    rng = np.random.default_rng(0)
    draws = rng.normal(0, 0.02, (2, k, 4000))
    first, second = (
        Seeds(mean + np.zeros(k), mean + d, 500) for mean, d in zip((0.84, 0.8), draws, strict=True)
    )
    chance = difference_chance(first, second)
    images = float((draws[0].mean(0) - draws[1].mean(0)).var())
    low, high = chance.interval(0.04)
    assert (high - low) / 2 >= 1.96 * np.sqrt(images)
    assert chance.p_value(0.04) >= p_value(0.04, [(images, 500)]) > 0.01


def test_where_nothing_varies_nothing_is_known():
    still = [Seeds(v + np.zeros(2), v + np.zeros((2, 10)), 30.0) for v in (0.5, 1.0)]
    chance = difference_chance(*still)
    assert (chance.interval(-0.5), chance.p_value(-0.5)) == (None, 1)


def test_without_image_noise_it_is_the_t_test():
    rng = np.random.default_rng(0)
    a, b = rng.normal(0, 1, 5), rng.normal(1, 1, 5)
    chance = difference_chance(*(Seeds(v, np.repeat(v[:, None], 10, axis=1), 30.0) for v in (a, b)))
    oracle = stats.ttest_rel(a, b)
    expected = oracle.confidence_interval()
    found = chance.interval(a.mean() - b.mean())
    assert found == pytest.approx((expected.low, expected.high), abs=1e-9)
    assert chance.p_value(a.mean() - b.mean()) == pytest.approx(oracle.pvalue, abs=1e-9)


def test_one_seed_counts_images_only_and_two_single_ones_cannot_be_compared():
    rng = np.random.default_rng(0)
    one = trained(1, rng, **CASES["all alike"])
    chance = mean_chance(one)
    assert chance.images == pytest.approx((one.draws.var(), one.degrees))
    low, high = chance.interval(0.0)
    assert high == -low == pytest.approx(stats.t.ppf(0.975, one.degrees) * one.draws.std())
    assert difference_chance(one, trained(1, rng, **CASES["all alike"])) is None
