"""Several surrogates as one, each objective weighted by out-of-sample error."""

from __future__ import annotations

from typing import Protocol

import numpy as np

from moenas.nas.surrogates.base import Array, Surrogate

SHARPNESS = 4.0  # a member's weight falls with this power of its squared error
FLOOR = 0.03  # least weight of a member beside the best one's 1: none is ever dropped


class Validated(Surrogate, Protocol):
    """A surrogate that knows its predictions for its own training rows, made without them."""

    loo: Array  # [n, M]; NaN where a row has no such prediction


class Mixture:
    """Posterior draws come from the members in proportion to their weights, per objective.

    Args:
        members: The surrogates.
    """

    def __init__(self, members: tuple[Validated, ...]) -> None:
        self._members = members

    def fit(self, X: Array, Y: Array, rng: np.random.Generator) -> None:
        """See `Surrogate.fit`."""
        errors = []
        for member in self._members:
            member.fit(X, Y, rng)
            known = ~np.isnan(member.loo)
            total = np.where(known, (member.loo - Y) ** 2, 0.0).sum(axis=0)
            # Where no row is known, nothing speaks for the member: as bad as a constant.
            error = np.where(known.any(axis=0), total / np.maximum(known.sum(axis=0), 1), Y.var(0))
            errors.append(error + 1e-12 * Y.var(axis=0) + 1e-300)
        error = np.stack(errors)
        weight = np.maximum((error.min(axis=0) / error) ** SHARPNESS, FLOOR)
        self.weights: Array = weight / weight.sum(axis=0)  # [members, M]

    def mean_std(self, X: Array) -> tuple[Array, Array]:
        """See `Surrogate.mean_std`; the moments of the mixture."""
        parts = [member.mean_std(X) for member in self._members]
        means = np.stack([mean for mean, _ in parts])
        stds = np.stack([std for _, std in parts])
        weight = self.weights[:, None, :]
        mean = (weight * means).sum(axis=0)
        variance = (weight * (stds**2 + (means - mean) ** 2)).sum(axis=0)
        return mean, np.sqrt(variance)

    def draws(self, X: Array, n: int, rng: np.random.Generator) -> Array:
        """See `Surrogate.draws`."""
        parts = np.stack([member.draws(X, n, rng) for member in self._members])
        # Systematic picks: the share of each member over n draws is as close to its weight as can.
        edges = np.cumsum(self.weights, axis=0)
        picks = np.empty((n, self.weights.shape[1]), dtype=np.int64)
        for m in range(picks.shape[1]):
            ticks = (np.arange(n) + rng.random()) / n
            chosen = np.searchsorted(edges[:-1, m], ticks, side="right")
            picks[:, m] = rng.permutation(chosen)
        draw, target = np.indices(picks.shape)
        return np.asarray(np.moveaxis(parts[picks, draw, :, target], 2, 1))
