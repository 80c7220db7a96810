"""Five bootstrap XGBoost models an objective: the surrogate for steps and interactions."""

from __future__ import annotations

import numpy as np
import xgboost

from moenas.nas.surrogates.base import Array, Scaler

SETTINGS = {
    "tree_method": "hist",
    "max_bin": 16,
    "max_depth": 3,
    "eta": 0.3,
    "nthread": 1,
    "verbosity": 0,
    "base_score": 0.0,
    "disable_default_eval_metric": True,
}


class XGBEnsemble:
    """Bootstrap ensemble of boosted trees; its spread is the uncertainty.

    All members are outputs of one booster, which costs a fraction of as many boosters: a bootstrap
    sample is nothing but how often each row counts in an output's gradient.

    Args:
        members: Models an objective, each on its own bootstrap sample; 1 = all rows, no bootstrap.
        trees: Boosting rounds.
    """

    def __init__(self, members: int = 5, trees: int = 30) -> None:
        self._members = members
        self._trees = trees

    def fit(self, X: Array, Y: Array, rng: np.random.Generator) -> None:
        """See `Surrogate.fit`."""
        n, targets = Y.shape
        self._targets = targets
        self._scaler = Scaler(Y)
        Z = np.tile(self._scaler.forward(Y), (1, self._members))  # column b * targets + m
        if self._members > 1:
            rows = rng.integers(0, n, (n, Z.shape[1]))
            counts = np.stack([np.bincount(column, minlength=n) for column in rows.T], axis=1)
        else:
            counts = np.ones(Z.shape, dtype=np.int64)
        weight = counts.astype(np.float32)
        # The target has a column for each output, else the booster would have one output only.
        data = xgboost.QuantileDMatrix(X, Z, max_bin=SETTINGS["max_bin"], nthread=1)
        self._booster = xgboost.Booster(SETTINGS, [data])
        fitted = np.zeros(Z.shape)
        for k in range(self._trees):
            gradient = (weight * (fitted - Z)).astype(np.float32)
            self._booster.boost(data, k, grad=gradient, hess=weight)
            fitted = self._booster.predict(data, output_margin=True).reshape(Z.shape)
        shape = (n, self._members, targets)
        out = (counts == 0).reshape(shape)
        total = np.where(out, fitted.reshape(shape), 0.0).sum(axis=1)
        seen = out.sum(axis=1)
        without = np.where(seen > 0, total / np.maximum(seen, 1), np.nan)
        self.loo: Array = self._scaler.backward(without)

    def _members_at(self, X: Array) -> Array:
        """Return each member's predictions, [members, m, M]."""
        values = self._booster.inplace_predict(X).reshape(len(X), self._members, self._targets)
        return self._scaler.backward(np.moveaxis(values.astype(np.float64), 1, 0))

    def mean_std(self, X: Array) -> tuple[Array, Array]:
        """See `Surrogate.mean_std`."""
        values = self._members_at(X)
        return values.mean(axis=0), values.std(axis=0, ddof=min(1, self._members - 1))

    def draws(self, X: Array, n: int, rng: np.random.Generator) -> Array:
        """Return Gaussian combinations of the members, independent for each objective."""
        values = self._members_at(X)
        mean = values.mean(axis=0)
        if self._members == 1:
            return np.repeat(mean[None], n, axis=0)
        z = rng.normal(size=(n, self._members, self._targets)) / np.sqrt(self._members - 1)
        return np.asarray(mean + np.einsum("kbm,bim->kim", z, values - mean))
