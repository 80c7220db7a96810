"""A search space as a finite grid: parameters <-> rows of level indices <-> features."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)

from moenas.errors import SearchError

Rows = NDArray[np.int64]
MAX_LEVELS = 1001  # continuous and very fine parameters are searched on this many levels


class Grid:
    """The finite grid behind a set of Optuna distributions.

    A *row* holds one level index a parameter (int64 [D], level d in ``0..sizes[d]-1``). Integers
    and stepped floats have one level a value, continuous floats and longer ranges 1001 levels
    (logarithmic where the distribution is), categories one level a choice.
    """

    def __init__(self, distributions: Mapping[str, BaseDistribution]) -> None:
        if not distributions:
            raise SearchError("A search space needs at least one parameter.")
        self.distributions = dict(distributions)
        self.names = tuple(distributions)
        self.values: list[list[Any]] = [_levels(d) for d in distributions.values()]
        self.sizes: Rows = np.array([len(v) for v in self.values], dtype=np.int64)
        self.categorical: NDArray[np.bool_] = np.array(
            [isinstance(d, CategoricalDistribution) for d in distributions.values()]
        )
        self._positions = [
            _positions(d, v) for d, v in zip(distributions.values(), self.values, strict=True)
        ]
        self._lookup: list[dict[tuple[type, Any], int]] = [
            {(type(value), value): level for level, value in enumerate(levels) if _hashes(value)}
            for levels in self.values
        ]

    @property
    def count(self) -> float:
        """Number of points of the grid (a float: it may exceed any integer type)."""
        return float(np.prod(self.sizes.astype(float)))

    def encode(self, params: Mapping[str, Any]) -> tuple[int, ...] | None:
        """Return the row of a parameter dict, or None when it is not a point of this space."""
        row = []
        for d, name in enumerate(self.names):
            if name not in params:
                return None
            value = params[name]
            try:
                level = self._lookup[d].get((type(value), value))
            except TypeError:  # a list
                level = None
            if level is None:
                level = self._nearest(d, value)
                if level is None:
                    return None
            row.append(level)
        return tuple(row)

    def decode(self, row: Sequence[int] | Rows) -> dict[str, Any]:
        """Return the parameter dict of a row, in plain Python types."""
        return {n: self.values[d][int(row[d])] for d, n in enumerate(self.names)}

    def columns(self, X: Rows) -> dict[str, NDArray[Any]]:
        """Return the parameter values of rows [n, D] as one array [n] a parameter."""
        return {
            name: (
                np.fromiter(self.values[d], dtype=object)  # a tuple is one value, not a row
                if self.categorical[d]
                else np.array(self.values[d])
            )[X[:, d]]
            for d, name in enumerate(self.names)
        }

    def features(self, X: Rows) -> NDArray[np.float64]:
        """Return rows [n, D] as features [n, F]: numbers in [0, 1], categories one-hot."""
        parts = []
        for d in range(len(self.names)):
            if self.categorical[d]:
                parts.append(np.eye(int(self.sizes[d]))[X[:, d]])
            else:
                parts.append(self._positions[d][X[:, d], None])
        return np.concatenate(parts, axis=1)

    def feature_groups(self) -> NDArray[np.int64]:
        """Return the parameter index of each feature, int64 [F]."""
        return np.repeat(
            np.arange(len(self.names)), np.where(self.categorical, self.sizes, 1)
        ).astype(np.int64)

    def random(self, n: int, rng: np.random.Generator) -> Rows:
        """Return ``n`` uniform rows, feasible or not."""
        return rng.integers(0, self.sizes, size=(n, len(self.sizes)))

    def _nearest(self, d: int, value: Any) -> int | None:
        distribution = self.distributions[self.names[d]]
        try:
            internal = distribution.to_internal_repr(value)
            contained = distribution._contains(internal)
        except (ValueError, TypeError):
            return None
        if not contained:
            return None
        if isinstance(distribution, CategoricalDistribution):
            return int(internal)
        return int(np.argmin(np.abs(np.asarray(self.values[d], dtype=float) - internal)))


def _hashes(value: Any) -> bool:
    """Whether a value can be looked up: Optuna warns of choices that are lists, but takes them."""
    try:
        hash(value)
    except TypeError:
        return False
    return True


def _levels(distribution: BaseDistribution) -> list[Any]:
    if isinstance(distribution, CategoricalDistribution):
        return list(distribution.choices)
    if isinstance(distribution, IntDistribution):
        low, high, step = distribution.low, distribution.high, distribution.step
        if (high - low) // step + 1 <= MAX_LEVELS:
            return list(range(low, high + 1, step))
        grid = _spaced(low, high, distribution.log)
        return sorted({low + step * round((value - low) / step) for value in grid.tolist()})
    if isinstance(distribution, FloatDistribution):
        low_f, high_f = distribution.low, distribution.high
        if distribution.step is not None:
            n = round((high_f - low_f) / distribution.step) + 1
            picks = range(n) if n <= MAX_LEVELS else np.linspace(0, n - 1, MAX_LEVELS).round()
            return [min(high_f, low_f + distribution.step * int(k)) for k in picks]
        if low_f == high_f:
            return [low_f]
        grid = np.clip(_spaced(low_f, high_f, distribution.log), low_f, high_f)
        return [float(value) for value in grid]
    raise SearchError(
        f"The sampler does not know parameters of type {type(distribution).__name__}."
    )


def _spaced(low: float, high: float, log: bool) -> NDArray[np.float64]:
    return np.geomspace(low, high, MAX_LEVELS) if log else np.linspace(low, high, MAX_LEVELS)


def _positions(distribution: BaseDistribution, values: list[Any]) -> NDArray[np.float64]:
    if isinstance(distribution, CategoricalDistribution) or len(values) == 1:
        return np.zeros(len(values))
    numbers = np.asarray(values, dtype=np.float64)
    if getattr(distribution, "log", False):
        numbers = np.log(numbers)
    return np.asarray((numbers - numbers[0]) / (numbers[-1] - numbers[0]))
