import numpy as np
import pytest
from simulated_predictions import at_least, logistic, photographs, scenes

from moenas.errors import DataError
from moenas.evaluation.statistics import Clusters, debiased_fairness, debiased_spd
from moenas.evaluation.statistics.gaps import Gaps, fairness_interval, gaps
from moenas.metrics.fairness import fairness
from moenas.predictions import Predictions


def sampled(true_gaps, sizes, rng, accuracy=0.9):
    """Measured gaps of ten groups, the last one the minority."""
    variance = accuracy * (1 - accuracy) / np.asarray(sizes, dtype=float)
    noise = rng.normal(0, np.sqrt(variance))
    covariance = np.diag(variance[:-1]) + variance[-1]
    return Gaps(true_gaps + noise[:-1] - noise[-1], covariance, 2000)


SHAPES = {
    "linear": np.arange(9, 0, -1) / 9,
    "only the darkest": np.ones(9),
    "zigzag": np.array([1, 0, 1, 0, 1, 0, 1, 0, 1.0]),
    "one in the middle": np.eye(9)[4],
}
FACET = [250, 600, 850, 850, 650, 550, 450, 350, 250, 170]


@pytest.mark.parametrize("sizes", [FACET, [400] * 10], ids=["FACET", "400 each"])
def test_debiased_spd_is_less_biased_than_the_measured_and_than_minus_the_floor(sizes):
    rng = np.random.default_rng(0)
    bias: dict = {"measured": [], "minus floor": [], "debiased": []}
    for shape in SHAPES.values():
        for size in (0, 0.02, 0.04, 0.07, 0.1):
            true = shape * size
            samples = [sampled(true, sizes, rng) for _ in range(400)]
            measured = np.array([np.abs(s.gap).sum() / 10 for s in samples])
            fair = [np.abs(sampled(0 * true, sizes, rng).gap).sum() / 10 for _ in range(400)]
            truth = true.sum() / 10
            bias["measured"].append(measured.mean() - truth)
            bias["minus floor"].append(measured.mean() - np.mean(fair) - truth)
            bias["debiased"].append(np.mean([debiased_spd(s) for s in samples]) - truth)
    size = {name: np.abs(values).mean() for name, values in bias.items()}
    assert size["debiased"] < 0.45 * min(size["measured"], size["minus floor"])
    assert np.abs(bias["debiased"]).max() < 0.5 * np.abs(bias["measured"]).max()


def test_without_noise_nothing_is_taken_away():
    sure = Gaps(np.array([0.1, -0.05, 0.0]), np.zeros((3, 3)), 100)
    assert debiased_spd(sure) == pytest.approx(0.15 / 4)
    assert debiased_spd(sure, "sum") == pytest.approx(0.15)


@pytest.mark.parametrize("shape", SHAPES)
def test_the_interval_covers_the_true_fairness(shape):
    rng = np.random.default_rng(1)
    trials, hits = 250, 0
    for trial in range(trials):
        true = SHAPES[shape] * 0.06
        measured = sampled(true, FACET, rng)
        low, high = fairness_interval(measured, 0.0, 400, trial)
        hits += low <= 1 - true.sum() / 10 / 0.2 <= high
    assert hits / trials >= at_least(0.94, trials)


def test_the_interval_holds_one_where_a_fair_model_is_not_ruled_out():
    measured = gaps(Clusters([scenes(0, gap=2.5)]))
    assert fairness_interval(measured, 0.001)[1] < 1
    assert fairness_interval(measured, 0.2)[1] == 1
    low, high = fairness_interval(measured, 0.001, seed=3)
    assert low < fairness(scenes(0, gap=2.5)) < high


def test_standard_errors_are_those_of_repeated_test_sets():
    """Clusters count: concepts that differ by tone make gaps less certain."""
    for options in ({"interaction": 0.0}, {"interaction": 0.8}):
        repeated = [gaps(Clusters([scenes(s, **options)])) for s in range(80)]
        seen = np.std([g.gap[0] for g in repeated])
        said = np.mean([np.sqrt(g.covariance[0, 0]) for g in repeated])
        assert said == pytest.approx(seen, rel=0.25)


def test_a_perfect_model_is_not_known_to_be_perfectly_fair():
    frame = scenes(0).frame
    perfect = gaps(Clusters([Predictions(frame.assign(prediction=frame["label"]))]))
    assert (perfect.gap == 0).all()
    low, high = fairness_interval(perfect, 1.0)
    assert low < 1 == high


def test_debiased_fairness_of_a_fair_model_is_near_one():
    values = [debiased_fairness(photographs(seed)) for seed in range(40)]
    measured = [fairness(photographs(seed)) for seed in range(40)]
    assert 1 - np.mean(values) < 0.4 * (1 - np.mean(measured))


def test_one_group_has_no_gaps():
    frame = photographs(0).frame.assign(group=3)
    with pytest.raises(DataError, match="at least two groups"):
        gaps(Clusters([Predictions(frame)]))


def test_logistic_truth_of_the_simulation():
    """The gap that `scenes` is asked for is the one it has."""
    big = scenes(0, concepts=400, scenes=5, gap=1.0)
    effect = np.random.default_rng(0).normal(0, np.sqrt(0.5**2 + 0.8**2), 200_000)
    base = np.log(9)
    expected = logistic(base - 1 + effect).mean() - logistic(base + effect).mean()
    dark = gaps(Clusters([big]))  # the minority (a tie) is the darkest
    assert -dark.gap[0] == pytest.approx(expected, abs=4 * np.sqrt(dark.covariance[0, 0]))
