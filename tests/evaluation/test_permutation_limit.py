import numpy as np
import pytest
from simulated_predictions import photographs

from moenas.evaluation.statistics import permutation
from moenas.evaluation.statistics.noise_floor import group_counts, permuted_counts
from moenas.evaluation.statistics.permutation import swap_clusters
from moenas.evaluation.statistics.permutation_limit import many_answers, swap_limit
from moenas.metrics.tally import Cells
from moenas.predictions import Predictions


def rows(rows_each, models=2, clusters=1500, weighted=False, seed=0):
    """Clusters whose answers are alike within them, and between models."""
    rng = np.random.default_rng(seed)
    n = clusters * rows_each
    cluster = np.repeat(np.arange(clusters), rows_each)
    group = (rng.integers(0, 3, clusters)[cluster] + (rng.random(n) < 0.4)) % 3
    ease = rng.beta(3, 2, clusters)[cluster]
    right = (rng.random((n, models)) < ease[:, None]).astype(float)
    weight = rng.choice([0.25, 0.5, 1.0], n) if weighted else np.ones(n)
    return cluster, group, weight, right


@pytest.mark.parametrize("weighted", [False, True], ids=["", "weighted"])
@pytest.mark.parametrize("rows_each", [1, 3])
def test_the_limit_has_the_moments_and_tails_of_single_swaps(rows_each, weighted):
    cluster, group, weight, right = rows(rows_each, weighted=weighted)
    draws = 3000
    limit = swap_limit(group, weight, right, rows_each, (draws, 3, 3), np.random.default_rng(0))
    order = np.argsort(cluster, kind="stable")
    single = permutation._swap_equal(
        group[order], weight[order], right[order], rows_each, (draws, 3, 3),
        np.random.default_rng(1),
    )  # fmt: skip
    np.testing.assert_allclose(limit[:, 0], single[:, 0])
    one, other = (x[:, 1:].reshape(draws, -1) for x in (limit, single))
    error = other.std(0) / draws**0.5
    np.testing.assert_array_less(np.abs(one.mean(0) - other.mean(0)), 4.5 * 2**0.5 * error)
    np.testing.assert_allclose(one.std(0), other.std(0), rtol=0.07)
    np.testing.assert_allclose(np.corrcoef(one.T), np.corrcoef(other.T), atol=0.09)
    for share in (0.025, 0.975):
        apart = np.quantile(one, share, axis=0) - np.quantile(other, share, axis=0)
        assert (np.abs(apart) < 0.2 * other.std(0)).all()


def test_sums_over_groups_are_those_of_the_data():
    _, group, weight, right = rows(3)
    sums = swap_limit(group, weight, right, 3, (50, 3, 3), np.random.default_rng(0))
    np.testing.assert_allclose(sums[:, 1:].sum(2), np.tile(right.sum(0), (50, 1)))


def test_few_answers_in_a_group_are_swapped_one_by_one(monkeypatch):
    _, group, _, right = rows(2)
    assert many_answers(group, right, 3)
    assert not many_answers(group[:300], right[:300], 3)
    rare = right.copy()
    rare[40:] = 1
    assert not many_answers(group, rare, 3)

    def fail(*args):
        raise AssertionError("the limit was used")

    monkeypatch.setattr(permutation, "swap_limit", fail)
    cluster, group, weight, right = rows(2, models=1, clusters=150)
    values = np.column_stack([weight, weight * right[:, 0]])
    swap_clusters(cluster, group, values, (20, 2, 3), np.random.default_rng(0))
    with pytest.raises(AssertionError, match="limit was used"):
        swap_clusters(*_large(), (20, 2, 3), np.random.default_rng(0))


def _large():
    cluster, group, weight, right = rows(2, models=1)
    return cluster, group, np.column_stack([weight, weight * right[:, 0]])


def test_many_photographs_are_permuted_about_their_own_totals():
    table = photographs(0, n=30_000)
    table = Predictions(table.frame[table.label])
    cells = Cells.of(table)
    drawn = permuted_counts([table], cells, 400, 0)
    seen = group_counts([table], cells)
    np.testing.assert_allclose(drawn[:, 1].sum(1), seen[1].sum(), rtol=1e-6)
    fair = seen[0] * seen[1].sum() / seen[0].sum()
    np.testing.assert_allclose(drawn[:, 1].mean(0), fair, rtol=0.01)
