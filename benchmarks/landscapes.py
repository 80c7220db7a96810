"""Synthetic stand-ins for the search: 9 layers of 1..8 experts, 4 objectives, a size limit.

Real evaluations cost GPU hours, so samplers are compared on landscapes made after what expert
counts plausibly do. All four objectives are maximised; a vector may have 3M parameters at most.

sat    every layer helps with diminishing returns, a few hurt fairness or robustness, and
       overfitting grows with size; noise 10 % of an objective's spread
inter  the same with interactions of layers, a preferred count a layer and a price on jumps; 20 %
noisy  like sat with noise of 50 % (accuracy least, fairness most)
dtlz2  the textbook problem DTLZ2 on the grid, its variables permuted and flipped; no noise

Scores are shares of the hypervolume of a reference front that is found with the true functions.
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
NOISE = {"sat": 0.10, "inter": 0.20, "noisy": 0.50, "dtlz2": 0.0}
STREAM = {"sat": 0, "inter": 1, "noisy": 2, "dtlz2": 4}
FAMILIES = tuple(NOISE)


def size(X: Rows) -> Values:
    """Return the sizes [n] of vectors [n, 9] in millions of parameters."""
    return np.asarray(DENSE + (np.asarray(X) - 1) @ PER_EXPERT)


def feasible(X: Rows) -> NDArray[np.bool_]:
    """Return which vectors [n, 9] keep the size limit."""
    return np.asarray(size(X) <= LIMIT + 1e-9)


def random_feasible(n: int, rng: np.random.Generator) -> Rows:
    """Return ``n`` uniform feasible vectors."""
    out = np.empty((0, LAYERS), dtype=np.int64)
    while len(out) < n:
        X = rng.integers(LOW, HIGH + 1, (2 * n, LAYERS))
        out = np.concatenate([out, X[feasible(X)]])
    return out[:n]


class Landscape:
    """One random instance of a family; the same arguments give the same functions."""

    def __init__(self, family: str, instance: int) -> None:
        self.family, self.instance = family, instance
        rng = np.random.default_rng(1000 * STREAM[family] + instance)
        if family == "dtlz2":
            self._order = rng.permutation(LAYERS)
            self._flip = rng.random(LAYERS) < 0.5
            self._mean, self._sd = 0.0, 1.0
        else:
            self._draw(rng)
        X = rng.integers(LOW, HIGH + 1, (20_000, LAYERS))
        X = X[feasible(X)]
        if family != "dtlz2":
            Y = self._raw(X)
            self._mean, self._sd = Y.mean(0), Y.std(0)
        self.noise = NOISE[family] * self.true(X).std(0)
        if family == "noisy":
            self.noise = self.noise * np.array([0.4, 1.4, 1.0, 1.2])
        self._reference: tuple[Values, Values, float] | None = None

    def _draw(self, rng: np.random.Generator) -> None:
        shape = (OBJECTIVES, LAYERS)
        self._tau = rng.uniform(0.7, 3.5, shape)  # how soon a layer saturates
        self._gain = rng.dirichlet(np.ones(LAYERS) * 1.5, OBJECTIVES)
        sign = np.ones(shape)
        sign[1, rng.permutation(LAYERS)[:3]] = -1  # three layers cost fairness
        sign[2, rng.permutation(LAYERS)[:2]] = -1  # two cost robustness
        self._gain_signed = self._gain * sign
        self._fit_weight = rng.dirichlet(PER_EXPERT / PER_EXPERT.mean() * 4)
        self._fit_power = rng.uniform(1.2, 2.2)
        pairs = (OBJECTIVES, LAYERS, LAYERS)
        self._pairs = np.triu(rng.normal(0, 1, pairs), 1) * (rng.random(pairs) < 0.35)
        self._peak = rng.uniform(LOW, HIGH, shape)
        self._peak_weight = rng.dirichlet(np.ones(LAYERS), OBJECTIVES)
        self._scales: tuple[Values, ...] | None = None

    def _raw(self, X: Rows) -> Values:
        extra = X - 1.0
        grown = 1 - np.exp(-extra[:, None, :] / self._tau)
        grown = grown / (1 - np.exp(-7 / self._tau))  # [n, 4, 9], 0..1
        Y = (grown * self._gain_signed).sum(2)
        own = 0.15 * (grown[:, 3] * self._gain[3]).sum(1)
        Y[:, 3] = own - ((extra / 7) @ self._fit_weight) ** self._fit_power
        if self.family != "inter":
            return Y
        centred = grown - 0.5
        pairs = np.einsum("noi,oij,noj->no", centred, self._pairs, centred)
        peaks = -(((X[:, None, :] - self._peak) / 7) ** 2 * self._peak_weight).sum(2)
        jumps = -np.abs(np.diff(X, axis=1)).mean(1) / 7
        if self._scales is None:  # fixed by the first, large sample
            self._scales = (Y.std(0), pairs.std(0), peaks.std(0), jumps.std())
        a, b, c, d = self._scales
        bumpy = 0.3 * (jumps / d)[:, None] * np.array([1, 0, 0.5, 0])
        return np.asarray(Y / a + 0.6 * pairs / b + 0.6 * peaks / c + bumpy)

    def true(self, X: Rows) -> Values:
        """Return the noise-free objectives [n, 4] of vectors [n, 9]."""
        X = np.atleast_2d(np.asarray(X, dtype=np.int64))
        if self.family != "dtlz2":
            return np.asarray((self._raw(X) - self._mean) / self._sd)
        x = (X - 1) / 7
        x = np.where(self._flip, 1 - x, x)[:, self._order]
        far = ((x[:, OBJECTIVES - 1 :] - 3 / 7) ** 2).sum(1)
        angle = x[:, : OBJECTIVES - 1] * np.pi / 2
        columns = []
        for i in range(OBJECTIVES):
            value = (1 + far) * np.prod(np.cos(angle[:, : OBJECTIVES - 1 - i]), axis=1)
            if i:
                value = value * np.sin(angle[:, OBJECTIVES - 1 - i])
            columns.append(-value)
        return np.stack(columns, axis=1)

    def observe(self, X: Rows, rng: np.random.Generator) -> Values:
        """Return noisy objectives [n, 4]."""
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
        X = random_feasible(200_000, rng)
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
    X = np.concatenate([start, random_feasible(population, rng)])[: max(population, len(start))]
    Y = landscape.true(X)
    seen = [Y]
    for _ in range(generations):
        keep = _survivors(Y, population)
        X, Y = X[keep], Y[keep]
        child = _children(X[: population // 2], population, rng)
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


def _children(P: Rows, n: int, rng: np.random.Generator) -> Rows:
    a, b = P[rng.integers(0, len(P), n)], P[rng.integers(0, len(P), n)]
    shape = (n, LAYERS)
    child = np.where(rng.random(shape) < 0.5, a, b)
    mutated = rng.random(shape) < 1.5 / LAYERS
    step = rng.choice([-2, -1, 1, 2], shape, p=[0.15, 0.35, 0.35, 0.15])
    child = np.where(mutated, child + step, child)
    child = np.where(rng.random(shape) < 0.03, rng.integers(LOW, HIGH + 1, shape), child)
    child = np.clip(child, LOW, HIGH)
    bad = np.flatnonzero(~feasible(child))
    while len(bad):  # too large: take experts away at random
        layer = rng.integers(0, LAYERS, len(bad))
        child[bad, layer] = np.maximum(LOW, child[bad, layer] - 1)
        bad = bad[~feasible(child[bad])]
    return child
