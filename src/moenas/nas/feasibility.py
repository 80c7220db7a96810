"""The free constraint on rows: evaluated fast, a feasible anchor found, rows repaired."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from moenas.errors import SearchError
from moenas.nas.encoding import Grid, Rows

Constraint = Callable[[dict[str, Any]], float]
Check = Callable[[Rows], NDArray[np.bool_]]
TRIES = 2_000
REMEMBERED = 100_000  # constraint values kept
FINE = 16  # parameters with more levels than this are repaired in larger steps


@runtime_checkable
class VectorConstraint(Protocol):
    """A constraint that can also be evaluated for many points at once."""

    def __call__(self, params: dict[str, Any]) -> float:
        """Return the violation of one point; <= 0 is feasible."""

    def many(self, columns: Mapping[str, NDArray[Any]]) -> NDArray[np.float64]:
        """Return the violations [n] of n points given as one array a parameter."""


class Feasibility:
    """Which rows of a grid meet the constraint; values are remembered, the constraint is pure."""

    def __init__(self, grid: Grid, constraint: Constraint | None) -> None:
        self.grid = grid
        self.constraint = constraint
        self._known: dict[bytes, float] = {}
        self._anchor: Rows | None = None

    def violation(self, X: Rows) -> NDArray[np.float64]:
        """Return the constraint's values [n] for rows [n, D]; <= 0 is feasible, NaN is not."""
        if self.constraint is None or not len(X):
            return np.zeros(len(X))
        if isinstance(self.constraint, VectorConstraint):
            try:
                return np.asarray(self.constraint.many(self.grid.columns(X)), dtype=np.float64)
            except KeyError as error:
                raise self._unknown(error) from error
        values = np.empty(len(X))
        for i, row in enumerate(np.ascontiguousarray(X)):
            key = row.tobytes()
            if key not in self._known:
                if len(self._known) >= REMEMBERED:
                    self._known.clear()
                self._known[key] = self._call(self.grid.decode(row))
            values[i] = self._known[key]
        return values

    def _call(self, params: dict[str, Any]) -> float:
        assert self.constraint is not None
        try:
            return float(self.constraint(params))
        except KeyError as error:
            raise self._unknown(error) from error

    def _unknown(self, error: KeyError) -> SearchError:
        return SearchError(
            f"The constraint asks for the parameter {error}, which is not sampled together with "
            f"the others ({', '.join(self.grid.names)}): it is conditional or fixed. Give the "
            "sampler the whole space as search_space=..., or a constraint that does without it."
        )

    def __call__(self, X: Rows) -> NDArray[np.bool_]:
        """Return which rows [n, D] are feasible, bool [n]."""
        return np.asarray(self.violation(X) <= 0)

    def anchor(self) -> Rows:
        """Return a feasible row [D] with room to spare (the lowest constraint value seen).

        Raises:
            SearchError: No feasible point was found, neither at random nor by descent.
        """
        if self._anchor is None:
            self._anchor = self._find_anchor()
        return self._anchor

    def _find_anchor(self) -> Rows:
        grid = self.grid
        corners = np.stack([np.zeros_like(grid.sizes), grid.sizes - 1])
        if self.constraint is None:
            return np.asarray(corners[0])
        rng = np.random.default_rng(0)
        X = np.concatenate([corners, grid.random(TRIES // 8, rng)])
        values = np.nan_to_num(self.violation(X), nan=np.inf, posinf=np.inf)
        if values.min() > 0:  # descend, one parameter at a time, from the best few
            starts = X[np.argsort(values, kind="stable")[:4]]
            X = np.stack([self._descend(row, rng) for row in starts])
            values = np.nan_to_num(self.violation(X), nan=np.inf, posinf=np.inf)
        if values.min() > 0:
            X = grid.random(TRIES, rng)
            values = np.nan_to_num(self.violation(X), nan=np.inf, posinf=np.inf)
        if values.min() > 0:
            raise SearchError(
                f"No feasible point was found in a space of {grid.count:.3g} points: the lowest "
                f"constraint value seen is {values.min():.4g} and must be <= 0. Loosen the limit "
                "or widen the parameters' ranges."
            )
        return np.asarray(X[int(np.argmin(values))])

    def _descend(self, row: Rows, rng: np.random.Generator) -> Rows:
        row = row.copy()
        best = float(self.violation(row[None])[0])
        improved = True
        while improved and not best <= 0:
            improved = False
            for d in rng.permutation(len(row)):
                size = int(self.grid.sizes[d])
                levels = np.unique(np.linspace(0, size - 1, min(size, 32)).round().astype(int))
                trial = np.repeat(row[None], len(levels), axis=0)
                trial[:, d] = levels
                values = np.nan_to_num(self.violation(trial), nan=np.inf, posinf=np.inf)
                k = int(np.argmin(values))
                if values[k] < best:
                    row, best, improved = trial[k], float(values[k]), True
        return row

    def repair(self, X: Rows, anchors: Rows, rng: np.random.Generator) -> Rows:
        """Return rows [n, D], the infeasible ones moved step by step to their feasible anchors."""
        return repair(X, anchors, self, self.grid, rng)

    def sample(self, n: int, rng: np.random.Generator) -> Rows:
        """Return ``n`` random feasible rows, uniform where rejection is quick enough."""
        X = self.grid.random(n, rng)
        again = np.flatnonzero(~self(X))
        for _ in range(4):
            if not len(again):
                break
            X[again] = self.grid.random(len(again), rng)
            again = again[~self(X[again])]
        return self.repair(X, np.repeat(self.anchor()[None], n, axis=0), rng)

    def sample_around(self, level: float, n: int, rng: np.random.Generator) -> Rows:
        """Return ``n`` random feasible rows whose parameters lie around a common level.

        Uniform vectors crowd at a middling size; levels spread over 0..1 reach small and large
        ones, too.

        Args:
            level: 0 = the lowest value of every parameter, 1 = the highest.
            n: How many.
            rng: The generator.
        """
        grid = self.grid
        unit = rng.normal(level, 0.25, (n, len(grid.sizes)))
        X = np.floor(np.clip(unit, 0, 1 - 1e-9) * grid.sizes).astype(np.int64)
        X = np.where(grid.categorical, grid.random(n, rng), X)
        return self.repair(X, np.repeat(self.anchor()[None], n, axis=0), rng)


def repair(X: Rows, anchors: Rows, feasible: Check, grid: Grid, rng: np.random.Generator) -> Rows:
    """Move infeasible rows, one random parameter and step at a time, to their anchors.

    Args:
        X: Rows [n, D].
        anchors: One feasible row for each, [n, D].
        feasible: Which rows are feasible.
        grid: The grid that the rows are of.
        rng: The generator.
    """
    X = X.copy()
    bad = np.flatnonzero(~feasible(X))
    for _ in range(8 * X.shape[1]):
        if not len(bad):
            return X
        gap = anchors[bad] - X[bad]
        choice = np.argmax(rng.random(gap.shape) * (gap != 0), axis=1)
        picked = gap[np.arange(len(bad)), choice]
        step = np.where(
            grid.categorical[choice],
            picked,
            np.sign(picked) * np.where(grid.sizes[choice] > FINE, -(-np.abs(picked) // 4), 1),
        )
        step = np.where(np.abs(step) > np.abs(picked), picked, step)
        X[bad, choice] += step
        bad = bad[~feasible(X[bad])]
    X[bad] = anchors[bad]
    return X
