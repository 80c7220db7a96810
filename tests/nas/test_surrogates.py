"""Every surrogate: learns, knows what it does not know, is deterministic, survives odd data."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import numpy as np
import pytest
from scipy.optimize import OptimizeResult, approx_fprime

from moenas.nas.surrogates import anova
from moenas.nas.surrogates.anova import AnovaGP
from moenas.nas.surrogates.base import Surrogate
from moenas.nas.surrogates.mixture import Mixture
from moenas.nas.surrogates.quadratic import QuadraticBLR
from moenas.nas.surrogates.xgb import XGBEnsemble

MAKERS: dict[str, Callable[[], Surrogate]] = {
    "xgb": XGBEnsemble,
    "quadratic": QuadraticBLR,
    "anova": AnovaGP,
    "mixture": lambda: Mixture((XGBEnsemble(), QuadraticBLR(), AnovaGP())),
}


@pytest.fixture(params=sorted(MAKERS))
def make(request) -> Callable[[], Surrogate]:
    return MAKERS[request.param]


def smooth(X: np.ndarray) -> np.ndarray:
    """Two targets on very different scales."""
    a = 2 * X[:, 0] - np.sqrt(X[:, 1]) + X[:, 2] * X[:, 3]
    b = 1000 + 50 * (X[:, 1] - 0.4) ** 2 - 20 * X[:, 4]
    return np.stack([a, b], axis=1)


def rng(seed: int) -> np.random.Generator:
    return np.random.default_rng(seed)


def sample(n: int, seed: int = 0, noise: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    X = rng.integers(0, 8, (n, 5)) / 7
    Y = smooth(X)
    return X, Y + noise * rng.normal(size=Y.shape) * Y.std(0)


def fitted(make: Callable[[], Surrogate], X: np.ndarray, Y: np.ndarray) -> Surrogate:
    model = make()
    model.fit(X, Y, np.random.default_rng(0))
    return model


@pytest.mark.parametrize("noise", [0.0, 0.3])
def test_predicts_unseen_points(make, noise):
    model = fitted(make, *sample(120, noise=noise))
    X, Y = sample(300, seed=1)
    mean, std = model.mean_std(X)
    assert mean.shape == std.shape == Y.shape
    assert (((mean - Y) ** 2).mean(0) < 0.3 * Y.var(0)).all()
    assert (std >= 0).all()


def test_draws_agree_with_the_moments(make):
    model = fitted(make, *sample(60, noise=0.2))
    X, _ = sample(20, seed=1)
    mean, std = model.mean_std(X)
    drawn = model.draws(X, 4000, np.random.default_rng(0))
    assert drawn.shape == (4000, 20, 2)
    np.testing.assert_allclose(drawn.mean(0), mean, atol=0.12 * float(std.max()))
    np.testing.assert_allclose(drawn.std(0), std, rtol=0.15, atol=0.02 * float(std.max()))


@pytest.mark.parametrize("kind", ["xgb", "quadratic"])
def test_draws_are_functions(kind):
    """The same generator draws the same functions, whatever rows they are looked at on.

    Not so the process and the mixture: their draws are joint over the rows that are asked for.
    """
    model = fitted(MAKERS[kind], *sample(60))
    X, _ = sample(30, seed=1)
    whole = model.draws(X, 5, np.random.default_rng(3))
    part = model.draws(X[10:20], 5, np.random.default_rng(3))
    np.testing.assert_allclose(whole[:, 10:20], part, rtol=1e-9)


def test_more_data_means_less_doubt(make):
    X, _ = sample(50, seed=9)
    few = fitted(make, *sample(15, noise=0.1)).mean_std(X)[1]
    many = fitted(make, *sample(300, noise=0.1)).mean_std(X)[1]
    assert (many.mean(0) < few.mean(0)).all()


def test_same_seed_same_model(make):
    X, Y = sample(40)
    one, two = fitted(make, X, Y), fitted(make, X, Y)
    np.testing.assert_array_equal(one.mean_std(X)[0], two.mean_std(X)[0])


@pytest.mark.parametrize("n", [2, 3, 8])
def test_little_data(make, n):
    X, Y = sample(n)
    mean, std = fitted(make, X, Y).mean_std(X)
    assert np.isfinite(mean).all()
    assert np.isfinite(std).all()


def test_constant_targets_and_features(make):
    X = np.full((10, 5), 0.5)
    mean, _ = fitted(make, X, np.full((10, 2), 7.0)).mean_std(X)
    np.testing.assert_allclose(mean, 7.0, atol=1e-6)


def test_repeated_noisy_rows(make):
    """The same row with different results: the mean lies between, nothing is singular."""
    X = np.repeat(sample(6)[0], 5, axis=0)
    Y = np.repeat(sample(6)[1], 5, axis=0)
    Y = Y + np.random.default_rng(0).normal(size=Y.shape) * Y.std(0)
    mean, std = fitted(make, X, Y).mean_std(X)
    assert np.isfinite(mean).all()
    assert (std > 0).any()


def test_quadratic_estimates_the_noise():
    X, Y = sample(400, noise=0.5)
    model = QuadraticBLR()
    model.fit(X, Y, np.random.default_rng(0))
    spread = Y.std(0)
    noise = np.sqrt(model.noise) * spread
    true = 0.5 * smooth(X).std(0)
    np.testing.assert_allclose(noise, true, rtol=0.2)


def test_quadratic_leave_one_out_is_exact_for_fixed_variances():
    """The closed form equals refitting without the row, evidence steps aside."""
    X, Y = sample(40, noise=0.2)
    model = QuadraticBLR()
    model.fit(X, Y, np.random.default_rng(0))
    Phi = model._basis(X)
    z = model._scaler.forward(Y)[:, 0]
    root, noise = model._root[0], float(model.noise[0])
    prior = np.linalg.inv(root @ root.T) - Phi.T @ Phi / noise
    for row in (0, 7, 39):
        keep = np.arange(40) != row
        precision = prior + Phi[keep].T @ Phi[keep] / noise
        weights = np.linalg.solve(precision, Phi[keep].T @ z[keep] / noise)
        expected = model._scaler.backward(np.array([[Phi[row] @ weights, 0.0]]))[0, 0]
        assert model.loo[row, 0] == pytest.approx(expected, rel=1e-6)


def test_one_hot_features_form_no_pairs():
    X = np.eye(3)[np.random.default_rng(0).integers(0, 3, 30)]
    X = np.concatenate([X, np.random.default_rng(1).random((30, 1))], axis=1)
    model = QuadraticBLR(np.array([0, 0, 0, 1]))
    model.fit(X, X[:, :1] + X[:, 3:], np.random.default_rng(0))
    assert set(zip(model._i.tolist(), model._j.tolist(), strict=True)) == {(0, 3), (1, 3), (2, 3)}


def test_mixture_trusts_the_better_member():
    """Trees win on a parity of thresholds, the quadratic on a smooth slope."""
    rng = np.random.default_rng(0)
    X = rng.integers(0, 8, (150, 5)) / 7
    steps = ((X[:, 0] > 0.5) ^ (X[:, 1] > 0.5)) * 1.0 + (X[:, 2] > 0.8)
    Y = np.stack([np.sin(9 * X[:, 0]) + steps, X @ np.arange(1.0, 6.0)], axis=1)
    model = Mixture((XGBEnsemble(), QuadraticBLR()))
    model.fit(X, Y, rng)
    trees, quadratic = model.weights
    assert trees[0] > quadratic[0]
    assert quadratic[1] > trees[1]
    np.testing.assert_allclose(model.weights.sum(axis=0), 1)


def test_xgb_out_of_bag_rows_are_unseen_by_their_members():
    """Pure noise cannot be predicted without the row: out-of-bag errors show it."""
    rng = np.random.default_rng(0)
    X, Y = rng.random((100, 5)), rng.normal(size=(100, 1))
    model = XGBEnsemble()
    model.fit(X, Y, rng)
    fit_error = ((model.mean_std(X)[0] - Y) ** 2).mean()
    honest = np.nanmean((model.loo - Y) ** 2)
    assert honest > 0.9 * Y.var() > fit_error


def test_mixture_without_out_of_sample_predictions():
    """Two rows may both be in every bootstrap sample; the weights stay finite."""
    X, Y = sample(2)
    for seed in range(20):
        model = Mixture((XGBEnsemble(), QuadraticBLR()))
        model.fit(X, Y, np.random.default_rng(seed))
        assert np.isfinite(model.weights).all()


def test_anova_learns_a_product_of_three():
    """What a quadratic cannot: the sign of three factors' product."""
    rng = np.random.default_rng(0)
    X, T = rng.integers(0, 8, (150, 5)) / 7, rng.integers(0, 8, (200, 5)) / 7

    def product(X: np.ndarray) -> np.ndarray:
        return np.prod(2 * X[:, :3] - 1, axis=1, keepdims=True)

    def error(model: Surrogate) -> float:
        model.fit(X, product(X), rng)
        return float(((model.mean_std(T)[0] - product(T)) ** 2).mean() / product(T).var())

    assert error(AnovaGP()) < 0.1 < 0.5 < error(QuadraticBLR())


def test_anova_weighs_what_matters():
    X, Y = sample(150, noise=0.1)
    model = AnovaGP()
    model.fit(np.concatenate([X, np.random.default_rng(1).random((150, 3))], axis=1), Y, rng(0))
    for weights in model._weights:
        assert weights[5:8].max() < 0.3 * weights[:5].max()


def test_anova_sums_over_subsets():
    """The closed form of the kernel equals the sum over all subsets of parameters."""
    tables = np.random.default_rng(0).normal(size=(4, 3, 3))
    w, order = np.array([0.5, 1.0, 2.0, 0.3]), {1: 1.0, 2: 0.7, 3: 0.2, 4: 0.2}
    expected = np.full((3, 3), anova.CONSTANT)
    for k, a in order.items():
        for subset in itertools.combinations(range(4), k):
            expected += a * np.prod([w[d] * tables[d] for d in subset], axis=0)
    found = anova._combine(tables, np.array([*w, 0.7, 0.2]))
    np.testing.assert_allclose(found, expected, rtol=1e-12)


def test_anova_leave_one_out_equals_refitting():
    X, Y = sample(30, noise=0.2)
    model = AnovaGP()
    model.fit(X, Y, rng(0))
    z = model._scaler.forward(Y)[:, 0]
    K = anova._combine(model._tables(X, X), model._weights[0])
    K[np.diag_indices(30)] += model.noise[0] + anova.JITTER
    for row in (0, 13, 29):
        keep = np.arange(30) != row
        alone = K[row, keep] @ np.linalg.solve(K[np.ix_(keep, keep)], z[keep])
        expected = model._scaler.backward(np.array([[alone, 0.0]]))[0, 0]
        assert model.loo[row, 0] == pytest.approx(expected, rel=1e-6)


def test_anova_with_many_rows_uses_some():
    X, Y = sample(1500, noise=0.1)
    model = AnovaGP()
    model.fit(X, Y, rng(0))
    assert len(model._X) == anova.ROWS == np.isfinite(model.loo[:, 0]).sum()
    assert np.isfinite(model.loo[-anova.ROWS // 2 :]).all()  # the latest are among them


def test_anova_knows_categories():
    draw = rng(0)
    X = np.concatenate([np.eye(3)[draw.integers(0, 3, 80)], draw.random((80, 2))], axis=1)
    y = (X[:, 1:2] - X[:, 2:3]) * X[:, 3:4]
    model = AnovaGP(np.array([0, 0, 0, 1, 2]))
    model.fit(X[:60], y[:60], draw)
    mean, _ = model.mean_std(X[60:])
    assert ((mean - y[60:]) ** 2).mean() < 0.1 * y.var()


def test_anova_gradient_of_the_posterior(monkeypatch):
    """The gradient that the fit follows is that of finite differences."""
    seen = []

    def compare(loss, start, **_):
        at = start + 0.3 * rng(1).normal(size=len(start))
        found, expected = loss(at)[1], approx_fprime(at, lambda theta: loss(theta)[0], 1e-6)
        np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-3)
        seen.append(start)
        return OptimizeResult(x=start)

    monkeypatch.setattr(anova, "minimize", compare)
    AnovaGP().fit(*sample(40, noise=0.2), rng(0))
    assert len(seen) == 2


def test_anova_survives_many_parameters():
    """Products of sixty factors are large, and rows that repeat make the matrix singular."""
    X = rng(0).integers(0, 2, (40, 60)).astype(float)
    X = np.concatenate([X, X[:5]])
    model = AnovaGP()
    model.fit(X, X[:, :3].sum(axis=1, keepdims=True), rng(0))
    drawn = model.draws(np.concatenate([X, X]), 8, rng(0))
    assert np.isfinite(drawn).all()
    assert np.corrcoef(model.mean_std(X)[0][:, 0], X[:, :3].sum(axis=1))[0, 1] > 0.9


def test_anova_root_takes_what_it_needs():
    """A matrix that rounding has made indefinite still has a factor."""
    X = rng(0).normal(size=(6, 2))
    matrix = X @ X.T - 1e-4 * np.eye(6)
    root = anova._root(matrix, 1e-6)
    assert np.abs(root @ root.T - matrix).max() < 0.01
