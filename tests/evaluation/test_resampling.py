import numpy as np
import pytest
from scipy import stats
from simulated_predictions import photographs, scenes, shuffled

from moenas.errors import DataError
from moenas.evaluation.statistics.resampling import Clusters, aligned
from moenas.metrics.accuracy import balanced_accuracy_of
from moenas.metrics.fairness import gap_of
from moenas.metrics.tally import Tally
from moenas.predictions import Predictions


def by_rows(predictions, statistic, draws, seed):
    """The same bootstrap, slowly: clusters' rows are copied K − 1 times out of K."""
    rng = np.random.default_rng(seed)
    frame = predictions.frame
    parts = []
    for label in (0, 1):
        part = frame[frame["label"] == label]
        parts.append([rows.to_numpy() for _, rows in part.groupby("cluster").groups.items()])
    values = []
    for _ in range(draws):
        rows = []
        for clusters in parts:
            picked = rng.integers(0, len(clusters), len(clusters) - 1)
            rows += [clusters[i] for i in picked]
        values.append(statistic(Tally.of(Predictions(frame.loc[np.concatenate(rows)]))))
    return np.array(values)


@pytest.mark.parametrize("statistic", [balanced_accuracy_of, gap_of])
def test_count_draws_have_the_distribution_of_row_draws(statistic):
    predictions = scenes(1, concepts=12, scenes=3, gap=1.0, negatives=6)
    fast = statistic(Clusters([predictions]).resample(4000, 0)[0])
    slow = by_rows(predictions, statistic, 250, 0)
    assert fast.mean() == pytest.approx(slow.mean(), abs=4 * slow.std() / 250**0.5)
    assert fast.std() == pytest.approx(slow.std(), rel=0.18)


def test_many_different_clusters_are_drawn_with_the_same_variance():
    """Above a number of patterns weights are Poisson; the jackknife knows the variance."""
    clusters = Clusters([photographs(0, n=6000)])
    assert max(len(stratum.number) for stratum in clusters.strata) > 400
    for statistic in (balanced_accuracy_of, gap_of):
        draws = statistic(clusters.resample(3000, 0)[0])
        variance, _ = clusters.jackknife(lambda t, s=statistic: s(t[0]))
        assert draws.var() == pytest.approx(variance, rel=0.12)
        observed = statistic(clusters.tallies()[0])
        assert draws.mean() == pytest.approx(float(observed), abs=0.1 * draws.std())


def test_draws_depend_neither_on_row_order_nor_on_names_of_clusters():
    predictions = scenes(2)
    draws = Clusters([predictions]).resample(50, 7)[0]
    for other in (
        shuffled(predictions),
        Predictions(predictions.frame.assign(cluster="x" + predictions.frame["cluster"].str[::-1])),
    ):
        np.testing.assert_array_equal(Clusters([other]).resample(50, 7)[0].correct, draws.correct)


def test_every_draw_has_the_test_set_s_composition():
    predictions = scenes(0)
    tally = Clusters([predictions]).resample(20, 0)[0]
    by_label = tally.total.sum((-2, -1))
    np.testing.assert_allclose(by_label, [[100, 1200]] * 20)


def test_models_are_drawn_together():
    """Two models that are right on the same images never differ in a draw."""
    predictions = scenes(0)
    other = photographs(0)
    first, second = Clusters([predictions, shuffled(predictions)]).resample(30, 0)
    np.testing.assert_array_equal(first.correct, second.correct)
    with pytest.raises(DataError, match="same images"):
        Clusters([predictions, other])


def test_jackknife_of_single_images_is_the_binomial_variance():
    predictions = photographs(0)
    frame = predictions.frame.assign(cluster=predictions.frame["image_id"])
    clusters = Clusters([Predictions(frame)])
    variance, degrees = clusters.jackknife(lambda tallies: tallies[0].by_label()[..., 1])
    p, n = float(predictions.correct[predictions.label].mean()), int(predictions.label.sum())
    assert variance == pytest.approx(p * (1 - p) / (n - 1), rel=1e-9)
    assert degrees == n - 1


def test_a_cluster_alone_in_its_stratum_is_not_certain():
    """One cluster of negatives: drawn with the others, so that balanced accuracy varies more."""
    frame = scenes(0, negatives=2).frame
    frame.loc[frame["label"] == 0, "cluster"] = "only"
    clusters = Clusters([Predictions(frame)])
    assert [stratum.clusters for stratum in clusters.strata] == [21]


def test_a_single_cluster_tells_nothing_of_the_variance():
    frame = scenes(0).frame.assign(cluster="all")
    variance, degrees = Clusters([Predictions(frame)]).jackknife(
        lambda tallies: balanced_accuracy_of(tallies[0])
    )
    assert np.isnan(variance)
    assert degrees == 0


def test_alignment_names_the_column_that_differs():
    one = scenes(0)
    two = Predictions(one.frame.assign(lighting="well_lit"))
    with pytest.raises(DataError, match="1 and 2 differ in column 'lighting'"):
        aligned([one, two])
    with pytest.raises(DataError, match="1 and 2 differ in column 'image_id'"):
        aligned([one, Predictions(one.frame.iloc[1:])])
    with pytest.raises(DataError, match="no predictions"):
        aligned([])


def test_people_with_several_tones_are_aligned_by_tone():
    frame = scenes(0).frame.iloc[:40].copy()
    frame["image_id"] = np.repeat([f"p{i}" for i in range(20)], 2)
    one = Predictions(frame)
    again = aligned([one, shuffled(one)])
    np.testing.assert_array_equal(again[0].correct, again[1].correct)


def test_weights_of_images_count():
    frame = scenes(0).frame
    double = Predictions(frame.assign(weight=2.0))
    single = Clusters([Predictions(frame)]).resample(10, 0)[0]
    np.testing.assert_allclose(
        balanced_accuracy_of(Clusters([double]).resample(10, 0)[0]), balanced_accuracy_of(single)
    )


@pytest.mark.parametrize("weights", ["each cluster once", "patterns"])
def test_poisson_numbers_keep_the_composition_and_the_variance(weights):
    """Strata of many clusters: the variance of a share is the cluster-robust one."""
    table = photographs(0, n=3000)
    if weights == "patterns":
        table = Predictions(table.frame.assign(cluster=table.frame["image_id"]))
    clusters = Clusters([table])
    draws = clusters.resample(4000, 0)[0]
    np.testing.assert_allclose(draws.total[:, 0].sum((-2, -1)), 3000, rtol=1e-9)
    for statistic in (balanced_accuracy_of, gap_of):
        variance, _ = clusters.jackknife(lambda t, s=statistic: s(t[0]))
        assert statistic(draws).var() == pytest.approx(variance, rel=0.1)


def test_the_draws_are_scipy_s_bootstrap():
    table = photographs(0, n=400)
    table = Predictions(table.frame.assign(cluster=table.frame["image_id"]))
    own = balanced_accuracy_of(Clusters([table]).resample(4000, 0)[0])
    right = [table.correct[table.label == label].astype(float) for label in (True, False)]
    peer = stats.bootstrap(
        right, lambda a, b, axis: (a.mean(axis) + b.mean(axis)) / 2, n_resamples=4000,
        method="percentile", vectorized=True, rng=np.random.default_rng(0),
    )  # fmt: skip
    assert own.std() == pytest.approx(peer.standard_error, rel=0.05)
    ends = np.quantile(own, [0.025, 0.975])
    np.testing.assert_allclose(ends, peer.confidence_interval, atol=0.12 * own.std() + 1 / 400)


def test_weights_that_are_no_whole_numbers_are_drawn_alike():
    table = photographs(0, n=1000)
    whole = Clusters([table]).resample(200, 0)[0]
    third = Clusters([Predictions(table.frame.assign(weight=1 / 3))]).resample(200, 0)[0]
    np.testing.assert_allclose(third.correct * 3, whole.correct, rtol=1e-9)
