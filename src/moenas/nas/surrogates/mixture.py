"""Several surrogates as one, each objective weighted by out-of-sample error."""

from __future__ import annotations

from typing import Protocol

import numpy as np

from moenas.nas.surrogates.base import Array, Surrogate


class Validated(Surrogate, Protocol):
    """A surrogate that knows its predictions for its own training rows, made without them."""

    loo: Array  # [n, M]; NaN where a row has no such prediction


class Mixture:
    """Posterior draws come from the members in proportion to their weights, per objective.

    Args:
        members: The surrogates.
        floor: Least weight of a member before normalisation: no member is ever dropped.
    """

    def __init__(
        self, members: tuple[Validated, ...], floor: float = 0.15, sharp: float = 4.0
    ) -> None:
        self._members = members
        self._floor = floor
        self._sharp = sharp

    def fit(self, X: Array, Y: Array, rng: np.random.Generator) -> None:
        """See `Surrogate.fit`."""
        errors = []
        for member in self._members:
            member.fit(X, Y, rng)
            errors.append(np.nanmean((member.loo - Y) ** 2, axis=0))
        error = np.stack(errors) + 1e-12
        weight = (error.min(axis=0) / error) ** self._sharp
        weight = np.maximum(weight, self._floor)
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
