"""What the sampler asks of a surrogate model: fit, mean and deviation, joint draws."""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


class Surrogate(Protocol):
    """A model of several targets over one feature matrix.

    Features are positions in [0, 1] (one-hot columns for categories), float [n, F]. Targets are
    float [n, M], every column on its own scale. Observation noise is part of the model: means and
    draws are of the noise-free function.
    """

    def fit(self, X: Array, Y: Array, rng: np.random.Generator) -> None:
        """Learn from ``n >= 2`` observations; ``rng`` is the only source of randomness."""

    def mean_std(self, X: Array) -> tuple[Array, Array]:
        """Return the posterior mean and standard deviation, both [m, M]."""

    def draws(self, X: Array, n: int, rng: np.random.Generator) -> Array:
        """Return ``n`` functions of the posterior at the same rows: [n, m, M], joint over rows."""


class Scaler:
    """Column-wise standardisation; columns without spread keep a unit scale."""

    def __init__(self, Y: Array) -> None:
        self.mean: Array = Y.mean(axis=0)
        spread = Y.std(axis=0)
        self.scale: Array = np.where(spread > 1e-12 * np.maximum(1.0, np.abs(self.mean)), spread, 1)

    def forward(self, Y: Array) -> Array:
        """Return (Y - mean) / scale."""
        return (Y - self.mean) / self.scale

    def backward(self, Z: Array) -> Array:
        """Return Z * scale + mean."""
        return Z * self.scale + self.mean
