"""Bayesian linear regression on warped main effects and pairs: the smooth surrogate."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cho_factor, cho_solve, solve_triangular

from moenas.nas.surrogates.base import Array, Scaler

PAIRED = 24  # with more parameters than this the pairs are left out
WARP = 4.0  # how fast the saturating main effect saturates over [0, 1]
ROUNDS = 20
SETTLED = 0.02  # relative change of the noise and all prior variances at which they are left


class QuadraticBLR:
    """y = b + sum f_d(x_d) + sum f_de(x_d, x_e) + noise, with Gaussian priors.

    Main effects are a straight line, a saturating curve and a parabola; pairs are products of two
    lines and of two saturating curves, all centred. The prior variances (one each for lines,
    curves, parabolas and pairs) and the noise maximise the evidence, by MacKay's fixed point
    (Bayesian Interpolation, 1992).

    Args:
        groups: Parameter of each feature, int [F]; features of one parameter (a one-hot category)
            form no pairs with each other. By default every feature is its own parameter.
    """

    def __init__(self, groups: NDArray[np.int64] | None = None) -> None:
        self._groups = groups

    def fit(self, X: Array, Y: Array, rng: np.random.Generator) -> None:
        """See `Surrogate.fit`; nothing here is random."""
        del rng
        self._scaler = Scaler(Y)
        Z = self._scaler.forward(Y)
        self._prepare(X)
        Phi = self._basis(X)
        self._mean: list[Array] = []
        self._root: list[Array] = []  # R with R R' = the weights' posterior covariance
        self.noise = np.empty(Y.shape[1])
        self.loo = np.empty_like(Y)
        gram = Phi.T @ Phi
        for m in range(Y.shape[1]):
            mean, root, noise = _evidence(Phi, gram, Z[:, m], self._kind)
            self._mean.append(mean)
            self._root.append(root)
            self.noise[m] = noise
            leverage = np.minimum(((Phi @ root) ** 2).sum(axis=1) / noise, 0.99)
            self.loo[:, m] = Z[:, m] - (Z[:, m] - Phi @ mean) / (1 - leverage)
        self.loo = self._scaler.backward(self.loo)

    def mean_std(self, X: Array) -> tuple[Array, Array]:
        """See `Surrogate.mean_std`."""
        Phi = self._basis(X)
        mean = Phi @ np.stack(self._mean, axis=1)
        variance = np.stack([((Phi @ root) ** 2).sum(axis=1) for root in self._root], axis=1)
        return self._scaler.backward(mean), np.sqrt(variance) * self._scaler.scale

    def draws(self, X: Array, n: int, rng: np.random.Generator) -> Array:
        """See `Surrogate.draws`."""
        Phi = self._basis(X)
        weights = np.stack(
            [
                mean[:, None] + root @ rng.normal(size=(len(mean), n))
                for mean, root in zip(self._mean, self._root, strict=True)
            ],
            axis=2,
        )
        return self._scaler.backward(np.einsum("ip,pkm->kim", Phi, weights))

    def _prepare(self, X: Array) -> None:
        features = X.shape[1]
        groups = np.arange(features) if self._groups is None else self._groups
        curved = np.array([len(np.unique(X[:, f])) > 2 for f in range(features)])
        self._curved = np.flatnonzero(curved)
        i, j = np.triu_indices(features, 1)
        keep = groups[i] != groups[j]
        if len(np.unique(groups)) > PAIRED:
            keep &= False
        self._i, self._j = i[keep], j[keep]
        sizes = (1, features, len(self._curved), len(self._curved), 2 * len(self._i))
        self._kind = np.repeat([-1, 0, 1, 2, 3], sizes)

    def _basis(self, X: Array) -> Array:
        line = X - 0.5
        curve = (1 - np.exp(-WARP * X)) / (1 - np.exp(-WARP)) - 0.5
        bend = 4 * line[:, self._curved] ** 2 - 1 / 3
        pairs = [2 * f[:, self._i] * f[:, self._j] for f in (line, curve)]
        constant = np.ones((len(X), 1))
        return np.concatenate([constant, line, curve[:, self._curved], bend, *pairs], axis=1)


def _evidence(
    Phi: Array, gram: Array, y: Array, kind: NDArray[np.int64]
) -> tuple[Array, Array, float]:
    """Return the posterior mean [p], a root [p, p] of its covariance and the noise variance."""
    n, p = Phi.shape
    kinds = [k for k in np.unique(kind) if k >= 0]
    alpha = np.full(p, 1.0)
    alpha[kind < 0] = 1e-2
    noise = 0.3
    target = Phi.T @ y
    for _ in range(ROUNDS):
        before = np.append(alpha, noise)
        precision = gram / noise
        precision[np.diag_indices(p)] += alpha
        chol = cho_factor(precision, lower=True)
        mean = cho_solve(chol, target / noise)
        inverse = cho_solve(chol, np.eye(p))
        variance = np.diag(inverse)
        used = float(1 - alpha[0] * variance[0])
        for k in kinds:
            own = kind == k
            gamma = float((1 - alpha[own] * variance[own]).sum())
            used += gamma
            # A weak Gamma prior keeps empty groups from diverging.
            alpha[own] = np.clip((gamma + 1) / ((mean[own] ** 2).sum() + 0.1), 1e-2, 1e5)
        residual = float(((y - Phi @ mean) ** 2).sum())
        noise = float(np.clip((residual + 0.02) / (max(n - used, 1e-9) + 1), 1e-4, 4.0))
        if np.abs(np.append(alpha, noise) / before - 1).max() < SETTLED:
            break
    precision = gram / noise
    precision[np.diag_indices(p)] += alpha
    factor = np.linalg.cholesky(precision)
    root = solve_triangular(factor, np.eye(p), lower=True).T
    return np.asarray(root @ (root.T @ target) / noise), np.asarray(root), noise
