"""The space of expert counts: sizes by table, feasible vectors, Optuna distributions."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from optuna.distributions import BaseDistribution, IntDistribution

from moenas.errors import SearchError
from moenas.models.architecture import MAX_EXPERTS
from moenas.models.cost import count_parameters, layer_count
from moenas.nas.encoding import Grid
from moenas.nas.feasibility import Feasibility

Counts = NDArray[np.int64]


@dataclasses.dataclass(frozen=True)
class SearchSpace:
    """All vectors of expert counts of a base model within a size limit.

    Args:
        base: Name of the base model.
        layers: Number of its S-FFN layers L.
        low: Fewest experts of a layer, at least 1 (1 = the plain FFN).
        high: Most experts of a layer.
        max_parameters: Size limit in parameters; None = no limit.

    Raises:
        SearchError: A bound is out of order, or not even the smallest vector meets the limit.
    """

    base: str
    layers: int
    low: int = 1
    high: int = 8
    max_parameters: int | None = None

    def __post_init__(self) -> None:
        real = layer_count(self.base)
        if self.layers != real:
            raise SearchError(
                f"'{self.base}' has {real} S-FFN layers, the space says {self.layers}. "
                f"Use layers={real}."
            )
        if not 1 <= self.low <= self.high <= MAX_EXPERTS:
            raise SearchError(
                f"Expert counts from {self.low} to {self.high} are no range: "
                f"choose 1 <= low <= high <= {MAX_EXPERTS}."
            )
        if self.max_parameters is not None and self.smallest > self.max_parameters:
            raise SearchError(
                f"No vector meets the size limit: '{self.base}' with {self.low} expert(s) "
                f"everywhere has {self.smallest:,} parameters, the limit is "
                f"{self.max_parameters:,}. Raise the limit or take a smaller base model."
            )

    @property
    def names(self) -> tuple[str, ...]:
        """Parameter names of the study: e1, e2, ... in the order of the layers."""
        return tuple(f"e{layer}" for layer in range(1, self.layers + 1))

    @property
    def smallest(self) -> int:
        """Parameters of the smallest vector."""
        return int(self.parameters(np.full((1, self.layers), self.low))[0])

    @property
    def largest(self) -> int:
        """Parameters of the largest vector, were there no limit."""
        return int(self.parameters(np.full((1, self.layers), self.high))[0])

    @cached_property
    def _table(self) -> Counts:
        """Parameters that n experts add to the dense base in a layer, [L, high + 1] by n.

        Sizes add up over layers; the step from 1 to 2 experts also brings the router.
        """
        dense = (1,) * self.layers
        start = count_parameters(self.base, dense)
        table = np.zeros((self.layers, self.high + 1), dtype=np.int64)
        for layer in range(self.layers):
            for n in range(2, self.high + 1):
                vector = (*dense[:layer], n, *dense[layer + 1 :])
                table[layer, n] = count_parameters(self.base, vector) - start
        table[0] += start
        return table

    def parameters(self, X: ArrayLike) -> Counts:
        """Return the sizes [n] of count vectors X [n, L] in parameters, exactly.

        Raises:
            SearchError: A vector has the wrong length or a count outside 1..high.
        """
        X = np.asarray(X, dtype=np.int64)
        if X.ndim != 2 or X.shape[1] != self.layers:
            raise SearchError(
                f"Expert counts must have the shape [n, {self.layers}], not {list(X.shape)}."
            )
        if X.size and (X.min() < 1 or X.max() > self.high):
            raise SearchError(
                f"Expert counts must lie in 1..{self.high}; these range from "
                f"{X.min()} to {X.max()}."
            )
        return np.asarray(self._table[np.arange(self.layers), X].sum(axis=1))

    def feasible(self, X: ArrayLike) -> NDArray[np.bool_]:
        """Return which count vectors [n, L] lie in the range and within the limit, bool [n]."""
        X = np.asarray(X, dtype=np.int64)
        inside = np.asarray(np.all((self.low <= X) & (self.high >= X), axis=1))
        if self.max_parameters is None:
            return inside
        sizes = self.parameters(np.clip(X, 1, self.high))
        return np.asarray(inside & (sizes <= self.max_parameters))

    def repair(self, X: ArrayLike, rng: np.random.Generator) -> Counts:
        """Return the vectors, clipped to the range, the too large ones shrunk at random places."""
        X = np.clip(np.asarray(X, dtype=np.int64), self.low, self.high)
        anchors = np.zeros_like(X)
        return self._feasibility.repair(X - self.low, anchors, rng) + self.low

    def sample(self, n: int, rng: np.random.Generator) -> Counts:
        """Return ``n`` random feasible vectors [n, L], uniform where rejection is quick enough."""
        return self._feasibility.sample(n, rng) + self.low

    @cached_property
    def _feasibility(self) -> Feasibility:
        return Feasibility(Grid(self.distributions()), self.constraint)

    def encode(self, experts: Sequence[int]) -> dict[str, int]:
        """Return the study's parameters of a count vector, e.g. for ``study.enqueue_trial``."""
        if len(experts) != self.layers:
            raise SearchError(f"A vector needs {self.layers} expert counts, not {len(experts)}.")
        return dict(zip(self.names, (int(n) for n in experts), strict=True))

    def decode(self, params: Mapping[str, Any]) -> tuple[int, ...]:
        """Return the count vector of a trial's parameters.

        Raises:
            SearchError: A layer is missing.
        """
        missing = [name for name in self.names if name not in params]
        if missing:
            raise SearchError(
                f"The trial has no parameter {', '.join(missing)}: it is of another space."
            )
        return tuple(int(params[name]) for name in self.names)

    def distributions(self) -> dict[str, BaseDistribution]:
        """Return the Optuna distributions, for ``study.ask`` and for the sampler."""
        return {name: IntDistribution(self.low, self.high) for name in self.names}

    @property
    def constraint(self) -> SizeConstraint:
        """The size limit as the sampler takes it."""
        return SizeConstraint(self)


@dataclasses.dataclass(frozen=True)
class SizeConstraint:
    """Parameters above the limit, in units of the limit; <= 0 is feasible."""

    space: SearchSpace

    def __call__(self, params: dict[str, Any]) -> float:
        """Return the violation of one trial's parameters."""
        vector = np.array([self.space.decode(params)], dtype=np.int64)
        return float(self._violation(vector)[0])

    def many(self, columns: Mapping[str, NDArray[Any]]) -> NDArray[np.float64]:
        """Return the violations [n] of n vectors given as one array a layer."""
        X = np.stack([columns[name] for name in self.space.names], axis=1)
        return self._violation(X.astype(np.int64))

    def _violation(self, X: Counts) -> NDArray[np.float64]:
        sizes = self.space.parameters(X)
        limit = self.space.max_parameters
        if limit is None:
            return np.full(len(X), -1.0)
        return np.asarray((sizes - limit) / limit)
