"""A Gaussian process of main effects, pairs and everything higher: smooth, of any order."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cho_solve, cholesky, solve_triangular
from scipy.linalg.lapack import dpotrf, dpotri
from scipy.optimize import minimize

from moenas.nas.surrogates.base import Array, Scaler

LENGTH = 0.8  # length scale of every parameter's kernel; the range is 1
NODES = np.linspace(0, 1, 9)  # where a numeric parameter's kernel is centred and scaled
CONSTANT = 4.0  # prior variance of the mean: the rows tried are no fair sample of the space
ROWS = 384  # observations that predictions are conditioned on: half the latest, half random
FITTED = 128  # of these, how many the hyperparameters are fitted to
ITERATIONS = 16
JITTER = 1e-6
# Normal priors on the logarithms of: a parameter's weight (times their number), the weight of
# pairs, the weight of all higher orders, the noise variance. Mean and standard deviation.
WEIGHT, PAIRS, HIGHER, NOISE = (0.0, 0.8), (-1.0, 0.8), (-2.0, 1.0), (-1.5, 1.0)


class AnovaGP:
    """y = b + sum f_d(x_d) + sum f_de(x_d, x_e) + ... + noise, of all orders at once.

    The kernel is c + e1 + a2 e2 + a3 (e3 + ... + eD), where e_k is the k-th elementary symmetric
    polynomial of the parameters' kernels w_d k_d (Duvenaud et al., Additive Gaussian Processes,
    2011). Each k_d is a Matern 5/2 kernel that integrates to zero over its range, so that orders
    don't compete for one effect (Lu et al., Additive Gaussian Processes Revisited, 2022);
    categories have one for equality. The weights w_d, a2, a3 and the noise of each objective
    maximise the posterior.

    Args:
        groups: Parameter of each feature, int [F]; several features of one parameter are a one-hot
            category. By default every feature is its own parameter.
    """

    def __init__(self, groups: NDArray[np.int64] | None = None) -> None:
        self._groups = groups

    def fit(self, X: Array, Y: Array, rng: np.random.Generator) -> None:
        """See `Surrogate.fit`; random is only which rows are used, of many."""
        groups = np.arange(X.shape[1]) if self._groups is None else self._groups
        self._columns = [np.flatnonzero(groups == group) for group in np.unique(groups)]
        self._scaler = Scaler(Y)
        self.loo = np.full_like(Y, np.nan)
        rows = np.arange(len(X))
        if len(X) > ROWS:
            older = rng.permutation(len(X) - ROWS // 2)[: ROWS - ROWS // 2]
            rows = np.concatenate([np.sort(older), rows[-(ROWS // 2) :]])
        self._X = X[rows]
        Z = self._scaler.forward(Y[rows])
        tables = self._tables(self._X, self._X)
        some = np.sort(rng.permutation(len(rows))[:FITTED])
        lower = np.tril_indices(len(some))
        packed = np.ascontiguousarray(tables[:, some[lower[0]], some[lower[1]]])
        self._weights: list[Array] = []  # of each objective: w_1 .. w_D, a2, a3
        self._roots: list[Array] = []  # Cholesky factor of the rows' covariance
        self._alpha: list[Array] = []
        self.noise = np.empty(Y.shape[1])
        for m in range(Y.shape[1]):
            theta = _fit(packed, lower, Z[some, m])
            covariance = _combine(tables, theta[:-1])
            root = _root(covariance, theta[-1] + JITTER)
            inverse = cho_solve((root, True), np.eye(len(rows)))
            alpha = inverse @ Z[:, m]
            self.loo[rows, m] = Z[:, m] - alpha / np.diag(inverse)
            self._weights.append(theta[:-1])
            self._roots.append(root)
            self._alpha.append(alpha)
            self.noise[m] = theta[-1]
        self.loo = self._scaler.backward(self.loo)

    def mean_std(self, X: Array) -> tuple[Array, Array]:
        """See `Surrogate.mean_std`."""
        tables = self._tables(X, self._X)
        own = self._diagonals(X)
        mean, variance = np.empty((2, len(X), len(self._roots)))
        for m, (weights, root) in enumerate(zip(self._weights, self._roots, strict=True)):
            cross = _combine(tables, weights)
            mean[:, m] = cross @ self._alpha[m]
            known = solve_triangular(root, cross.T, lower=True, check_finite=False)
            variance[:, m] = _combine(own, weights) - (known**2).sum(axis=0)
        deviation = np.sqrt(np.maximum(variance, JITTER))
        return self._scaler.backward(mean), deviation * self._scaler.scale

    def draws(self, X: Array, n: int, rng: np.random.Generator) -> Array:
        """See `Surrogate.draws`."""
        tables, own = self._tables(X, self._X), self._tables(X, X)
        out = np.empty((n, len(X), len(self._roots)))
        for m, (weights, root) in enumerate(zip(self._weights, self._roots, strict=True)):
            cross = _combine(tables, weights)
            known = solve_triangular(root, cross.T, lower=True, check_finite=False)
            spread = _root(_combine(own, weights) - known.T @ known, 10 * JITTER)
            out[:, :, m] = cross @ self._alpha[m] + rng.normal(size=(n, len(X))) @ spread.T
        return self._scaler.backward(out)

    def _tables(self, A: Array, B: Array) -> Array:
        """Return every parameter's kernel between rows [a, F] and [b, F]: [D, a, b]."""
        out = np.empty((len(self._columns), len(A), len(B)))
        for d, columns in enumerate(self._columns):
            if len(columns) > 1:
                out[d] = _category(A[:, columns] @ B[:, columns].T, len(columns))
            else:  # few levels: the kernel of the levels, looked up
                u, i = np.unique(A[:, columns[0]], return_inverse=True)
                v, j = (u, i) if B is A else np.unique(B[:, columns[0]], return_inverse=True)
                out[d] = _centred(u, v)[i][:, j]
        return out

    def _diagonals(self, X: Array) -> Array:
        """Return every parameter's kernel of rows [n, F] with themselves: [D, n]."""
        out = np.ones((len(self._columns), len(X)))
        single = [d for d, columns in enumerate(self._columns) if len(columns) == 1]
        at = X[:, [self._columns[d][0] for d in single]]
        out[single] = ((1 - 2 * _matern(at[..., None] - NODES).mean(axis=-1) + TOTAL) / SCALE).T
        return out


def _matern(distance: Array) -> Array:
    r = np.sqrt(5.0) * np.abs(distance) / LENGTH
    return np.asarray((1 + r + r * r / 3) * np.exp(-r))


TOTAL = float(_matern(NODES[:, None] - NODES).mean())
SCALE = 1 - TOTAL


def _centred(u: Array, v: Array) -> Array:
    """Return the kernel [u, v] less its means over the range, with a mean variance of 1."""
    a, b = (_matern(x[:, None] - NODES).mean(axis=1) for x in (u, v))
    return np.asarray((_matern(u[:, None] - v) - a[:, None] - b + TOTAL) / SCALE)


def _category(same: Array, choices: int) -> Array:
    return np.asarray((same - 1 / choices) / (1 - 1 / choices))


def _combine(tables: Array, weights: Array) -> Array:
    """Return the kernel of parameters' kernels [D, ...] and weights w_1 .. w_D, a2, a3: [...]."""
    first = np.zeros(tables.shape[1:])
    squares, product = np.zeros_like(first), np.ones_like(first)
    for weight, table in zip(weights[:-2], tables, strict=True):
        z = weight * table
        first += z
        squares += z * z
        product *= 1 + z
    second = (first * first - squares) / 2
    a2, a3 = weights[-2:]
    higher = product - 1 - first - second
    return np.asarray(CONSTANT + first + a2 * second + a3 * higher)


def _root(covariance: Array, diagonal: float) -> Array:
    """Return the Cholesky factor of a matrix with as much on its diagonal as it needs."""
    while True:
        try:
            return np.asarray(cholesky(covariance + diagonal * np.eye(len(covariance)), lower=True))
        except np.linalg.LinAlgError:  # rounding, where the highest orders are huge
            diagonal *= 10


def _fit(tables: Array, lower: tuple[NDArray[np.int64], ...], y: Array) -> Array:
    """Return w_1 .. w_D, a2, a3 and the noise variance that maximise the posterior.

    Args:
        tables: Every parameter's kernel between all pairs of rows, lower triangle [D, p].
        lower: Row and column of the pairs.
        y: Standardised values [n].
    """
    D, n = len(tables), len(y)
    center, width = np.array([WEIGHT] * D + [PAIRS, HIGHER, NOISE]).T
    center[:D] -= np.log(D)
    twice = np.where(lower[0] == lower[1], 1.0, 2.0)
    flat = lower[0] * n + lower[1]

    def loss(theta: Array) -> tuple[float, Array]:
        """Return the negative logarithm of the posterior and its gradient."""
        w, (a2, a3, noise) = np.exp(theta[:D]), np.exp(theta[D:])
        z = w[:, None] * tables
        e1 = z.sum(axis=0)
        e2 = (e1 * e1 - np.einsum("dp,dp->p", z, z)) / 2
        factor = 1 + z
        factor[np.abs(factor) < 1e-6] = 1e-6
        product = factor.prod(axis=0)
        higher = product - 1 - e1 - e2
        covariance = np.zeros((n, n))
        covariance.ravel()[flat] = CONSTANT + e1 + a2 * e2 + a3 * higher
        covariance[np.diag_indices(n)] += noise + JITTER
        # As columns, LAPACK sees the upper triangle of the transpose.
        root, failed = dpotrf(covariance.T, lower=0, clean=1, overwrite_a=1)
        if failed:
            return 1e10, np.zeros_like(theta)
        half, _ = dpotri(root, lower=0)
        inverse = half + np.triu(half, 1).T
        alpha = inverse @ y
        value = y @ alpha / 2 + np.log(np.diag(root)).sum()
        slope = (inverse - alpha[:, None] * alpha) / 2
        pairs = slope.ravel()[flat] * twice
        # d kernel / d z_d = 1 + a2 (e1 - z_d) + a3 (product / (1 + z_d) - 1 - (e1 - z_d))
        common = (1 - a3 + (a2 - a3) * e1) * pairs
        by_weight = (
            z @ common
            - (a2 - a3) * np.einsum("dp,dp,p->d", z, z, pairs)
            + a3 * np.einsum("dp,p->d", z / factor, product * pairs)
        )
        rest = [a2 * (e2 @ pairs), a3 * (higher @ pairs), noise * np.trace(slope)]
        off = (theta - center) / width
        return float(value + off @ off / 2), np.append(by_weight, rest) + off / width

    bounds = list(zip(center - 4 * width, center + 4 * width, strict=True))
    found = minimize(
        loss, center, jac=True, method="L-BFGS-B", bounds=bounds, options={"maxiter": ITERATIONS}
    )
    best: Array = np.exp(found.x)
    return best
