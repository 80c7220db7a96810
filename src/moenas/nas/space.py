"""The space of expert counts and widths: costs by table, feasible points, Optuna distributions."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from optuna.distributions import BaseDistribution, CategoricalDistribution, IntDistribution

from moenas.errors import SearchError
from moenas.models.architecture import MAX_EXPERTS, Architecture
from moenas.models.cost import count_parameters, layer_count
from moenas.models.latency import LatencyTable
from moenas.nas.encoding import Grid
from moenas.nas.feasibility import Feasibility

Counts = NDArray[np.int64]

BASE = "base"
"""Name of the study's parameter for the base model, where there are several to choose from."""


@dataclasses.dataclass(frozen=True)
class SearchSpace:
    """All vectors of expert counts of a base model, and of wider ones, within limits of cost.

    What is said of vectors [n, L] is of the first base model, unless bases are named.

    Args:
        base: Name of the base model.
        layers: Number of its S-FFN layers L.
        low: Fewest experts of a layer, at least 1 (1 = the plain FFN).
        high: Most experts of a layer.
        max_parameters: Size limit in parameters; None = no limit.
        wider: Further base models with as many S-FFN layers, of which a point chooses one.
        max_latency_ms: Latency limit in milliseconds by the table; None = no limit.
        latency: What latencies are looked up in; it has all of the base models.

    Raises:
        SearchError: A bound is out of order, or not even the smallest vector meets a limit.
        ConfigError: The latency table lacks a base model.
    """

    base: str
    layers: int
    low: int = 1
    high: int = 8
    max_parameters: int | None = None
    wider: tuple[str, ...] = ()
    max_latency_ms: float | None = None
    latency: LatencyTable | None = None

    def __post_init__(self) -> None:
        if len(set(self.bases)) < len(self.bases):
            raise SearchError(f"A base model is named twice: {', '.join(self.bases)}.")
        for base in self.bases:
            real = layer_count(base)
            if self.layers != real:
                raise SearchError(
                    f"'{base}' has {real} S-FFN layers, the space says {self.layers}. "
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
        if self.latency is not None:
            for base in self.bases:
                self.latency.entry(base)
        if self.max_latency_ms is not None and self.fastest > self.max_latency_ms:
            raise SearchError(
                f"No vector meets the latency limit: '{self.base}' with {self.low} expert(s) "
                f"everywhere takes {self.fastest:.3g} ms, the limit is {self.max_latency_ms:g} ms. "
                "Raise the limit, take a smaller base model or smaller images."
            )

    @property
    def bases(self) -> tuple[str, ...]:
        """The base models to choose from."""
        return (self.base, *self.wider)

    def of(self, base: str) -> SearchSpace:
        """Return the part of the space with one of the base models.

        Raises:
            SearchError: Not even its smallest vector meets the limit.
        """
        return dataclasses.replace(self, base=base, wider=())

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the counts in the study: e1, e2, ... in the order of the layers."""
        return tuple(f"e{layer}" for layer in range(1, self.layers + 1))

    @property
    def smallest(self) -> int:
        """Parameters of the smallest vector."""
        return int(self.parameters(np.full((1, self.layers), self.low))[0])

    @property
    def fastest(self) -> float:
        """Milliseconds of the smallest vector, which computes least."""
        return float(self.milliseconds(np.full((1, self.layers), self.low))[0])

    @property
    def largest(self) -> int:
        """Parameters of the largest vector, were there no limit."""
        return int(self.parameters(np.full((1, self.layers), self.high))[0])

    @cached_property
    def _tables(self) -> Counts:
        """Parameters that n experts add to each dense base in a layer, [bases, L, high + 1] by n.

        Sizes add up over layers; the step from 1 to 2 experts also brings the router.
        """
        dense = (1,) * self.layers
        tables = np.zeros((len(self.bases), self.layers, self.high + 1), dtype=np.int64)
        for table, base in zip(tables, self.bases, strict=True):
            start = count_parameters(base, dense)
            for layer in range(self.layers):
                for n in range(2, self.high + 1):
                    vector = (*dense[:layer], n, *dense[layer + 1 :])
                    table[layer, n] = count_parameters(base, vector) - start
            table[0] += start
        return tables

    def parameters(self, X: ArrayLike, bases: Sequence[str] | None = None) -> Counts:
        """Return the sizes [n] of count vectors X [n, L] in parameters, exactly.

        Args:
            X: Expert counts.
            bases: [n] the base model of each; the first of the space by default.

        Raises:
            SearchError: A vector has the wrong length or a count outside 1..high, or a base model
                is not of this space.
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
        which = np.zeros(len(X), dtype=np.int64)
        if bases is not None:
            strange = sorted(set(bases) - set(self.bases))
            if strange:
                raise SearchError(f"'{strange[0]}' is none of {', '.join(self.bases)}.")
            which = np.array([self.bases.index(base) for base in bases], dtype=np.int64)
        return np.asarray(self._tables[which[:, None], np.arange(self.layers), X].sum(axis=1))

    def milliseconds(self, X: ArrayLike, bases: Sequence[str] | None = None) -> NDArray[np.float64]:
        """Return the latencies [n] of count vectors X [n, L] in milliseconds, by the table.

        Args:
            X: Expert counts.
            bases: [n] the base model of each; the first of the space by default.

        Raises:
            SearchError: The space has no table.
        """
        if self.latency is None:
            raise SearchError("This space has no latency table: give it one as latency=...")
        X = np.asarray(X, dtype=np.int64)
        return self.latency.milliseconds(X, [self.base] * len(X) if bases is None else bases)

    def costs(self, architecture: Architecture) -> dict[str, float]:
        """Return what an architecture of this space costs: parameters, and latency_ms by table."""
        X, bases = [architecture.experts], [architecture.base]
        costs: dict[str, float] = {"parameters": int(self.parameters(X, bases)[0])}
        if self.latency is not None:
            costs["latency_ms"] = float(self.milliseconds(X, bases)[0])
        return costs

    def excess(self, X: ArrayLike, bases: Sequence[str] | None = None) -> NDArray[np.float64]:
        """Return by how much vectors [n, L] exceed the limits, in units of the limit exceeded most.

        What is <= 0 is within all limits; see `parameters` for the arguments and errors.
        """
        X = np.asarray(X, dtype=np.int64)
        worst = np.full(len(X), -1.0)
        if self.max_parameters is not None:
            sizes = self.parameters(X, bases)
            worst = np.maximum(worst, (sizes - self.max_parameters) / self.max_parameters)
        if self.max_latency_ms is not None:
            times = self.milliseconds(X, bases)
            worst = np.maximum(worst, (times - self.max_latency_ms) / self.max_latency_ms)
        return worst

    def feasible(self, X: ArrayLike) -> NDArray[np.bool_]:
        """Return which count vectors [n, L] lie in the range and within the limits, bool [n]."""
        X = np.asarray(X, dtype=np.int64)
        inside = np.asarray(np.all((self.low <= X) & (self.high >= X), axis=1))
        return np.asarray(inside & (self.excess(np.clip(X, 1, self.high)) <= 0))

    def repair(self, X: ArrayLike, rng: np.random.Generator) -> Counts:
        """Return the vectors, clipped to the range, those over a limit shrunk at random places."""
        X = np.clip(np.asarray(X, dtype=np.int64), self.low, self.high)
        anchors = np.zeros_like(X)
        return self._feasibility.repair(X - self.low, anchors, rng) + self.low

    def sample(self, n: int, rng: np.random.Generator) -> Counts:
        """Return ``n`` random feasible vectors [n, L], uniform where rejection is quick enough."""
        return self._feasibility.sample(n, rng) + self.low

    @cached_property
    def _feasibility(self) -> Feasibility:
        one = self.of(self.base)
        return Feasibility(Grid(one.distributions()), one.constraint)

    def encode(self, experts: Sequence[int]) -> dict[str, Any]:
        """Return the study's parameters of a count vector, e.g. for ``study.enqueue_trial``."""
        if len(experts) != self.layers:
            raise SearchError(f"A vector needs {self.layers} expert counts, not {len(experts)}.")
        params: dict[str, Any] = {BASE: self.base} if self.wider else {}
        return params | dict(zip(self.names, (int(n) for n in experts), strict=True))

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

    def architecture(self, params: Mapping[str, Any]) -> Architecture:
        """Return the architecture of a trial's parameters.

        Raises:
            SearchError: A layer is missing.
        """
        return Architecture(params.get(BASE, self.base), self.decode(params))

    def distributions(self) -> dict[str, BaseDistribution]:
        """Return the Optuna distributions, for ``study.ask`` and for the sampler."""
        base: dict[str, BaseDistribution] = {}
        if self.wider:
            base[BASE] = CategoricalDistribution(self.bases)
        return base | {name: IntDistribution(self.low, self.high) for name in self.names}

    @property
    def constraint(self) -> LimitConstraint:
        """The limits as the sampler takes them."""
        return LimitConstraint(self)


@dataclasses.dataclass(frozen=True)
class LimitConstraint:
    """What a point costs above the limits (`SearchSpace.excess`); <= 0 is feasible."""

    space: SearchSpace

    def __call__(self, params: dict[str, Any]) -> float:
        """Return the violation of one trial's parameters."""
        vector = np.array([self.space.decode(params)], dtype=np.int64)
        return float(self.space.excess(vector, [params.get(BASE, self.space.base)])[0])

    def many(self, columns: Mapping[str, NDArray[Any]]) -> NDArray[np.float64]:
        """Return the violations [n] of n points given as one array a parameter."""
        X = np.stack([columns[name] for name in self.space.names], axis=1)
        bases = columns[BASE].tolist() if self.space.wider else None
        return self.space.excess(X, bases)
