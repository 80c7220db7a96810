"""Preset ``mixture``: surrogates of three kinds, noisy expected hypervolume improvement."""

from __future__ import annotations

from functools import partial

import numpy as np
from scipy.special import ndtr

from moenas.nas.acquisition import front_mask, improvements, mc_hvi, reference
from moenas.nas.candidates import best, evolve, mutate
from moenas.nas.encoding import Rows
from moenas.nas.feasibility import Feasibility
from moenas.nas.observations import Observations
from moenas.nas.surrogates.anova import AnovaGP
from moenas.nas.surrogates.base import Array, Surrogate
from moenas.nas.surrogates.mixture import Mixture
from moenas.nas.surrogates.quadratic import QuadraticBLR
from moenas.nas.surrogates.xgb import XGBEnsemble

DRAWS = 16
GENERATIONS = 10
PARENTS = 60  # members of the denoised front that the evolution starts from
SHORTLIST = 64  # candidates that the draws are spent on
NEAR = 400  # evaluated points, the best by their values, that may be on the front
KNOWN = 100  # evaluated points, the best by their means, that a draw's front is made of
PENALTY = 3.0  # what certain infeasibility costs, in ranges of the front


class MixtureProposer:
    """Proposes by expected hypervolume improvement over a posterior of all objectives.

    The front is never taken from the noisy values: for the pool it is that of the surrogate's means
    at evaluated feasible points, and the choice is averaged over posterior draws, each with its own
    front (noisy expected hypervolume improvement: Daulton, Balandat, Bakshy, 2021).

    Args:
        data: The observations.
        space: The feasible rows.
        rng: The generator of the fit.
        surrogate: The model; by default `XGBEnsemble`, `QuadraticBLR` and `AnovaGP`, mixed.
    """

    def __init__(
        self,
        data: Observations,
        space: Feasibility,
        rng: np.random.Generator,
        surrogate: Surrogate | None = None,
    ) -> None:
        self._space = space
        groups = space.grid.feature_groups()
        self._surrogate = surrogate or Mixture(
            (XGBEnsemble(), QuadraticBLR(groups), AnovaGP(groups))
        )
        self._objectives = data.Y.shape[1]
        self._constrained = data.C.shape[1] > 0
        F = space.grid.features(data.X)
        self._surrogate.fit(F, np.concatenate([data.Y, data.C], axis=1), rng)
        good = np.flatnonzero(data.feasible)
        if len(good) > NEAR:
            good = good[best(data.Y[good], NEAR)]
        mean = self._surrogate.mean_std(F[good])[0][:, : self._objectives]
        on_front = front_mask(mean)
        front = good[on_front]
        self._low, self._scale = reference(mean[on_front], data.Y)
        self._front = self._normal(mean[on_front])
        self._known = F[good[best(mean, KNOWN)]] if len(good) else F[:0]
        if not len(front):  # nothing is feasible yet: start from what misses by least
            excess = (np.maximum(data.C, 0) / (data.C.std(axis=0) + 1e-12)).sum(axis=1)
            front = np.argsort(excess, kind="stable")[:10]
        self._parents = data.X[front]

    def pool(self, rng: np.random.Generator) -> Rows:
        """Return candidates: evolved on the mean and on mean + 1 sd, front mutants, random rows."""
        space = self._space
        start = self._parents[rng.permutation(len(self._parents))[:PARENTS]]
        parts = [
            evolve(partial(self._score, optimism=k), start, space, rng, generations=GENERATIONS)
            for k in (0.0, 1.0)
        ]
        parents = self._parents[rng.integers(0, len(self._parents), 100)]
        parts.append(space.repair(mutate(parents, space.grid, rng), parents, rng))
        parts.append(space.sample(100, rng))
        return self.rank(np.unique(np.concatenate(parts), axis=0))

    def rank(self, X: Rows) -> Rows:
        """Return the rows by their improvement at the mean and at mean + 1 sd, best first."""
        M = self._objectives
        mean, std = self._surrogate.mean_std(self._space.grid.features(X))
        promise = improvements(self._front, self._normal(mean[:, :M]))
        promise += improvements(self._front, self._normal(mean[:, :M] + std[:, :M]))
        promise *= self._chance(mean[:, M:], std[:, M:])
        return np.asarray(X[np.argsort(-promise, kind="stable")])

    def choose(self, pool: Rows, pending: Rows, rng: np.random.Generator) -> int:
        """Return the candidate with the largest improvement times its chance to be feasible.

        Only the first 64 of the pool are looked at; it is ranked.
        """
        M = self._objectives
        short = pool[:SHORTLIST]
        F = self._space.grid.features(np.concatenate([pending, short]))
        F = np.concatenate([self._known, F])
        at = len(F) - len(short)
        drawn = self._normal(self._surrogate.draws(F, DRAWS, rng)[:, :, :M])
        gain = mc_hvi(drawn[:, :at], drawn[:, at:])
        if self._constrained:
            mean, std = self._surrogate.mean_std(F[at:])
            gain *= self._chance(mean[:, M:], std[:, M:])
        return int(np.argmax(gain))  # without any gain: the first, most promising one

    def _score(self, X: Rows, optimism: float) -> Array:
        M = self._objectives
        mean, std = self._surrogate.mean_std(self._space.grid.features(X))
        risk = 1 - self._chance(mean[:, M:], std[:, M:])
        return self._normal(mean[:, :M] + optimism * std[:, :M]) - PENALTY * risk[:, None]

    def _normal(self, Y: Array) -> Array:
        return (Y - self._low) / self._scale

    @staticmethod
    def _chance(mean: Array, std: Array) -> Array:
        """Return the probability [n] that all violations [n, K] are <= 0 (1 without any)."""
        return np.asarray(ndtr(-mean / np.maximum(std, 1e-9)).prod(axis=1))
