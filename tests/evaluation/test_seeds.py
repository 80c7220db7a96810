import numpy as np
import pytest
from scipy import stats
from simulated_predictions import at_least

from moenas.evaluation.statistics.intervals import t_interval
from moenas.evaluation.statistics.seeds import Seeds, difference_variance, mean_variance


def trained(k, rng, *, seeds, images, own, shared=0.0, draws=300, degrees=30):
    """A model whose true score is 0, of k seeds on one set of images.

    Standard deviations: ``seeds`` of training, ``images`` of what the images do to all seeds
    (``shared`` is given), ``own`` of what they do to one seed.
    """
    values = shared + rng.normal(0, images) + rng.normal(0, np.hypot(seeds, own), k)
    scale = np.sqrt(rng.chisquare(degrees) / degrees)  # variances are estimated too
    common = rng.normal(0, images * scale, draws)
    return Seeds(values, values[:, None] + common + rng.normal(0, own, (k, draws)), degrees)


CASES = {
    "seeds rule": {"seeds": 1.0, "images": 0.2, "own": 0.2},
    "images rule": {"seeds": 0.1, "images": 1.0, "own": 0.2},
    "images do other things to each seed": {"seeds": 0.2, "images": 0.2, "own": 1.0},
    "all alike": {"seeds": 1.0, "images": 1.0, "own": 1.0},
}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("k", [3, 5])
def test_intervals_of_means_cover(case, k):
    rng = np.random.default_rng(0)
    trials, hits = 1500, 0
    for _ in range(trials):
        seeds = trained(k, rng, **CASES[case])
        low, high = t_interval(seeds.mean, *mean_variance(seeds))
        hits += low <= 0 <= high
    assert at_least(0.94, trials) <= hits / trials <= 0.975


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize(("k", "other"), [(3, 3), (5, 5), (3, 1)])
def test_intervals_of_differences_cover(case, k, other):
    rng = np.random.default_rng(1)
    trials, hits = 1200, 0
    for _ in range(trials):
        first, second = trained(k, rng, **CASES[case]), trained(other, rng, **CASES[case])
        value = first.mean - second.mean
        low, high = t_interval(value, *difference_variance(first, second))
        hits += low <= 0 <= high
    assert at_least(0.93, trials) <= hits / trials <= 0.985


def test_without_image_noise_it_is_the_t_test():
    rng = np.random.default_rng(0)
    a, b = rng.normal(0, 1, 5), rng.normal(1, 1, 5)
    still = [Seeds(v, np.repeat(v[:, None], 10, axis=1), 30.0) for v in (a, b)]
    low, high = t_interval(a.mean() - b.mean(), *difference_variance(*still))
    expected = stats.ttest_rel(a, b).confidence_interval()
    assert (low, high) == pytest.approx((expected.low, expected.high), abs=1e-9)


def test_one_seed_counts_images_only_and_two_single_ones_cannot_be_compared():
    rng = np.random.default_rng(0)
    one = trained(1, rng, **CASES["all alike"])
    variance, degrees = mean_variance(one)
    assert variance == pytest.approx(one.draws.var())
    assert degrees == one.degrees
    assert difference_variance(one, trained(1, rng, **CASES["all alike"])) is None
