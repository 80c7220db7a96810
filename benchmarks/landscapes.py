"""Synthetic stand-ins for the search: counts of experts, 4 objectives, a size limit.

Real evaluations cost GPU hours, so samplers are compared on landscapes made after what expert
counts plausibly do (`families.py`). All four objectives are maximised; a point may have 3M
parameters at most. Scores are shares of the hypervolume of a reference front that is found with
the true functions.
"""

from __future__ import annotations

import pickle
from pathlib import Path

import moocore
import numpy as np
from numpy.typing import NDArray

Rows = NDArray[np.int64]
Values = NDArray[np.float64]

LAYERS, LOW, HIGH, OBJECTIVES = 9, 1, 8, 4
DENSE, LIMIT = 1.11, 3.0  # millions of parameters
PER_EXPERT = np.array([16.6, 16.6, 37, 37, 37, 37, 66, 66, 66]) / 1000


class Landscape:
    """One random instance of a family; the same arguments give the same functions.

    A point is a row of integers: 9 expert counts, in some families a choice after them. A family
    overrides `_draw` (its random numbers) and `_raw` (its functions before standardisation).

    Args:
        instance: Number of the instance.
    """

    family: str  # its name
    stream: int  # its own random numbers
    noise_share: tuple[float, ...] = (0.0,) * OBJECTIVES  # noise sd / sd of the objective
    low: Rows = np.full(LAYERS, LOW)
    high: Rows = np.full(LAYERS, HIGH)

    def __init__(self, instance: int) -> None:
        self.instance = instance
        self._mean, self._sd = np.zeros(OBJECTIVES), np.ones(OBJECTIVES)
        self._reference: tuple[Values, Values, float] | None = None
        rng = np.random.default_rng(1000 * self.stream + instance)
        self._draw(rng)
        X = self.random(20_000, rng)
        X = X[self.feasible(X)]
        Y = self._raw(X)
        self._mean, self._sd = Y.mean(0), Y.std(0)
        self.noise = np.array(self.noise_share) * self.true(X).std(0)

    def _draw(self, rng: np.random.Generator) -> None:
        raise NotImplementedError

    def _raw(self, X: Rows) -> Values:
        raise NotImplementedError

    def random(self, n: int, rng: np.random.Generator) -> Rows:
        """Return ``n`` uniform points, feasible or not."""
        return rng.integers(LOW, HIGH + 1, (n, LAYERS))

    def size(self, X: Rows) -> Values:
        """Return the sizes [n] of points [n, D] in millions of parameters."""
        return np.asarray(DENSE + (np.asarray(X)[:, :LAYERS] - 1) @ PER_EXPERT)

    def feasible(self, X: Rows) -> NDArray[np.bool_]:
        """Return which points [n, D] keep the size limit."""
        return np.asarray(self.size(X) <= LIMIT + 1e-9)

    def random_feasible(self, n: int, rng: np.random.Generator) -> Rows:
        """Return ``n`` uniform feasible points."""
        out = np.empty((0, len(self.low)), dtype=np.int64)
        while len(out) < n:
            X = self.random(2 * n, rng)
            out = np.concatenate([out, X[self.feasible(X)]])
        return out[:n]

    def true(self, X: Rows) -> Values:
        """Return the noise-free objectives [n, 4] of points [n, D]."""
        X = np.atleast_2d(np.asarray(X, dtype=np.int64))
        return np.asarray((self._raw(X) - self._mean) / self._sd)

    def observe(self, X: Rows, rng: np.random.Generator) -> Values:
        """Return measured objectives [n, 4]."""
        Y = self.true(X)
        return np.asarray(Y + rng.normal(size=Y.shape) * self.noise)

    def reference(self, cache: Path | None = None) -> tuple[Values, Values, float]:
        """Return the reference point, the ideal point and the reference hypervolume.

        Args:
            cache: Folder to keep the result in; it takes seconds to find.
        """
        if self._reference is None:
            file = None if cache is None else cache / f"{self.family}-{self.instance}.pickle"
            if file is not None and file.exists():
                self._reference = pickle.loads(file.read_bytes())  # our own file
            else:
                self._reference = self._find_reference()
                if file is not None:
                    file.parent.mkdir(parents=True, exist_ok=True)
                    file.write_bytes(pickle.dumps(self._reference))
        return self._reference

    def _find_reference(self) -> tuple[Values, Values, float]:
        rng = np.random.default_rng(7)
        X = self.random_feasible(200_000, rng)
        Y = self.true(X)
        good = moocore.is_nondominated(Y, maximise=True)
        X, Y = X[good], Y[good]
        start = X[rng.permutation(len(X))[:200]]
        Y = np.unique(np.concatenate([Y, _archive(self, start, rng)]), axis=0)
        Y = Y[moocore.is_nondominated(Y, maximise=True)]
        ideal, nadir = Y.max(0), Y.min(0)
        low = nadir - 0.1 * (ideal - nadir)
        scaled = (Y - low) / (ideal - low)
        volume = moocore.hypervolume(scaled, ref=np.zeros(OBJECTIVES), maximise=True)
        return low, ideal, float(volume)

    def share(self, X: Rows, cache: Path | None = None) -> float:
        """Return the noise-free hypervolume of evaluated vectors as a share of the reference's."""
        low, ideal, volume = self.reference(cache)
        scaled = np.maximum((self.true(X) - low) / (ideal - low), 0)
        own = moocore.hypervolume(scaled, ref=np.zeros(OBJECTIVES), maximise=True)
        return float(own / volume)


def _archive(landscape: Landscape, start: Rows, rng: np.random.Generator) -> Values:
    """Return all values that a long NSGA-II run on the true functions sees."""
    population, generations = 400, 250
    X = np.concatenate([start, landscape.random_feasible(population, rng)])[
        : max(population, len(start))
    ]
    Y = landscape.true(X)
    seen = [Y]
    for _ in range(generations):
        keep = _survivors(Y, population)
        X, Y = X[keep], Y[keep]
        child = _children(landscape, X[: population // 2], population, rng)
        values = landscape.true(child)
        seen.append(values)
        X, index = np.unique(np.concatenate([X, child]), axis=0, return_index=True)
        Y = np.concatenate([Y, values])[index]
    return np.concatenate(seen)


def _survivors(Y: Values, n: int) -> Rows:
    rank = moocore.pareto_rank(Y, maximise=True)
    crowd = np.zeros(len(Y))
    for level in np.unique(rank):
        members = np.flatnonzero(rank == level)
        if len(members) <= 2:
            crowd[members] = np.inf
            continue
        for m in range(Y.shape[1]):
            order = members[np.argsort(Y[members, m])]
            value = Y[order, m]
            crowd[order[[0, -1]]] = np.inf
            crowd[order[1:-1]] += (value[2:] - value[:-2]) / (value[-1] - value[0] + 1e-12)
    return np.asarray(np.lexsort((-crowd, rank))[:n])


def _children(landscape: Landscape, P: Rows, n: int, rng: np.random.Generator) -> Rows:
    low, high = landscape.low, landscape.high
    a, b = P[rng.integers(0, len(P), n)], P[rng.integers(0, len(P), n)]
    shape = (n, len(low))
    child = np.where(rng.random(shape) < 0.5, a, b)
    mutated = rng.random(shape) < 1.5 / len(low)
    step = rng.choice([-2, -1, 1, 2], shape, p=[0.15, 0.35, 0.35, 0.15])
    child = np.where(mutated, child + step, child)
    child = np.where(rng.random(shape) < 0.03, landscape.random(n, rng), child)
    child = np.clip(child, low, high)
    bad = np.flatnonzero(~landscape.feasible(child))
    while len(bad):  # too large: take experts away at random
        layer = rng.integers(0, len(low), len(bad))
        child[bad, layer] = np.maximum(low[layer], child[bad, layer] - 1)
        bad = bad[~landscape.feasible(child[bad])]
    return child
