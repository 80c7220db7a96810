"""Preset ``paper``: one XGBoost model an objective, an evolved population, its predicted front.

The paper names population-based Bayesian optimisation with XGBoost surrogates (Sec. III-B.2, after
BANANAS) and leaves the acquisition open; this is its plainest reading, kept as a baseline.
"""

from __future__ import annotations

import numpy as np

from moenas.nas.acquisition import front_mask
from moenas.nas.candidates import best, evolve
from moenas.nas.encoding import Rows
from moenas.nas.feasibility import Feasibility
from moenas.nas.observations import Observations
from moenas.nas.surrogates.base import Array
from moenas.nas.surrogates.xgb import XGBEnsemble

GENERATIONS = 20
POPULATION = 100


class PaperProposer:
    """Predicts objectives with single XGBoost models and picks from the predicted front.

    Args:
        data: The observations; measured violations are predicted too, and each above zero lowers
            all objectives of a candidate.
        space: The feasible rows.
        rng: The generator.
    """

    def __init__(self, data: Observations, space: Feasibility, rng: np.random.Generator) -> None:
        self._space = space
        self._objectives = data.Y.shape[1]
        self._model = XGBEnsemble(members=1)
        self._model.fit(space.grid.features(data.X), np.concatenate([data.Y, data.C], axis=1), rng)
        self._spread = np.ptp(data.Y, axis=0) + 1e-12
        good = np.flatnonzero(data.feasible)
        self._parents = data.X[good[front_mask(data.Y[good])]] if len(good) else data.X

    def pool(self, rng: np.random.Generator) -> Rows:
        """Return the population evolved on the predictions from the observed front."""
        return evolve(
            self._predict,
            self._parents[:POPULATION],
            self._space,
            rng,
            generations=GENERATIONS,
            population=POPULATION,
        )

    def rank(self, X: Rows) -> Rows:
        """Return the rows by their prediction, NSGA-II's best first."""
        return np.asarray(X[best(self._predict(X), len(X))])

    def choose(self, pool: Rows, pending: Rows, rng: np.random.Generator) -> int:
        """Return a random member of the pool's predicted front that is not yet under evaluation."""
        del pending  # they are not in the pool
        return int(rng.choice(np.flatnonzero(front_mask(self._predict(pool)))))

    def _predict(self, X: Rows) -> Array:
        mean, _ = self._model.mean_std(self._space.grid.features(X))
        values, violations = mean[:, : self._objectives], mean[:, self._objectives :]
        broken = (violations > 0).sum(axis=1, keepdims=True)
        return np.asarray(values - broken * self._spread)
