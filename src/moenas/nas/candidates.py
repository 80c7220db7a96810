"""The pool that the acquisition chooses from: evolved, mutated and random feasible rows."""

from __future__ import annotations

from collections.abc import Callable

import moocore
import numpy as np
from numpy.typing import NDArray
from scipy.spatial.distance import cdist

from moenas.nas.encoding import Grid, Rows
from moenas.nas.feasibility import Feasibility

Values = NDArray[np.float64]
POPULATION = 100
ENUMERABLE = 2**17  # grids of at most this many points are listed when little is left of them


def mutate(X: Rows, grid: Grid, rng: np.random.Generator, *, rate: float = 1.5) -> Rows:
    """Return mutated copies of rows: about ``rate`` parameters move one or two levels.

    Fine parameters move by up to a tenth of their range; a few parameters are drawn anew, which is
    also how categories change.
    """
    n, D = X.shape
    reach = np.maximum(1, grid.sizes // 20)
    step = rng.choice([-2, -1, 1, 2], size=(n, D), p=[0.15, 0.35, 0.35, 0.15])
    step = step * rng.integers(1, reach + 1, size=(n, D))
    moved = np.clip(X + step, 0, grid.sizes - 1)
    fresh = grid.random(n, rng)
    hit = rng.random((n, D)) < rate / D
    out = np.where(hit, np.where(grid.categorical, fresh, moved), X)
    return np.where(rng.random((n, D)) < 0.03, fresh, out)


def offspring(P: Rows, n: int, space: Feasibility, rng: np.random.Generator) -> Rows:
    """Return ``n`` feasible children of parents [p, D] by uniform crossover and mutation."""
    a, b = rng.integers(0, len(P), n), rng.integers(0, len(P), n)
    child = np.where(rng.random((n, P.shape[1])) < 0.5, P[a], P[b])
    child = mutate(child, space.grid, rng)
    # Half are repaired towards a parent, half towards the anchor: both trades are explored.
    anchors = np.where(rng.random(n)[:, None] < 0.5, P[a], space.anchor())
    return space.repair(child, anchors, rng)


def rank_and_crowd(Y: Values) -> tuple[NDArray[np.int64], Values]:
    """Return each row's non-domination rank (0 = front) and crowding distance; Y is maximised."""
    rank = np.asarray(moocore.pareto_rank(Y, maximise=True))
    crowd = np.zeros(len(Y))
    for m in range(Y.shape[1]):
        order = np.lexsort((Y[:, m], rank))
        value, level = Y[order, m], rank[order]
        edge = np.flatnonzero(np.diff(level)) + 1
        first = np.concatenate([[0], edge])
        last = np.concatenate([edge - 1, [len(Y) - 1]])
        spread = np.repeat(value[last] - value[first] + 1e-12, last - first + 1)
        gap = np.full(len(Y), np.inf)
        gap[1:-1] = value[2:] - value[:-2]
        gap[first] = gap[last] = np.inf
        crowd[order] += gap / spread
    return rank, crowd


def best(Y: Values, n: int) -> NDArray[np.int64]:
    """Return the indices of NSGA-II's ``n`` survivors of maximised values Y, best first."""
    rank, crowd = rank_and_crowd(Y)
    return np.asarray(np.lexsort((-crowd, rank))[:n])


def evolve(
    score: Callable[[Rows], Values],
    start: Rows,
    space: Feasibility,
    rng: np.random.Generator,
    *,
    generations: int,
    population: int = POPULATION,
) -> Rows:
    """Return NSGA-II's last population on maximised scores.

    Args:
        score: Rows [n, D] -> values [n, M], all maximised.
        start: First members, feasible; filled up with random ones.
        space: The feasible rows.
        rng: The generator.
        generations: How many.
        population: Members.
    """
    fill = max(population - len(start), population // 4)
    X = np.unique(np.concatenate([start, space.sample(fill, rng)]), axis=0)
    Y = score(X)
    for _ in range(generations):
        keep = best(Y, population)
        X, Y = X[keep], Y[keep]
        child = offspring(X[: max(20, population // 2)], population, space, rng)
        child = unseen(np.unique(child, axis=0), row_set(X))
        if len(child):
            X, Y = np.concatenate([X, child]), np.concatenate([Y, score(child)])
    return X[best(Y, population)]


def row_set(X: Rows) -> set[bytes]:
    """Return the rows as a set of byte strings."""
    return {row.tobytes() for row in np.ascontiguousarray(X)}


def unseen(X: Rows, seen: set[bytes]) -> Rows:
    """Return the rows that are not in the set."""
    rows = np.ascontiguousarray(X)
    return rows[[row.tobytes() not in seen for row in rows]]


def all_feasible(space: Feasibility) -> Rows:
    """Return every feasible row of a small grid."""
    X = np.stack(np.unravel_index(np.arange(int(space.grid.count)), tuple(space.grid.sizes)), 1)
    return X[space(X)]


def neighbours(X: Rows, grid: Grid) -> Rows:
    """Return all rows one step away from rows [n, D]: one level up or down, any other category."""
    parts = [X]
    for d, size in enumerate(grid.sizes):
        levels = np.arange(size)
        shifts = levels[1:] if grid.categorical[d] else np.array([-1, 1])
        for shift in shifts:
            moved = X.copy()
            moved[:, d] += shift
            if grid.categorical[d]:
                moved[:, d] %= size
            parts.append(moved[(moved[:, d] >= 0) & (moved[:, d] < size)])
    return np.unique(np.concatenate(parts), axis=0)


def spread(candidates: Values, points: Values) -> int:
    """Return the index of the candidate farthest from all points (features; maximin, L1)."""
    if not len(points):
        return 0
    return int(np.argmax(cdist(candidates, points, "cityblock").min(axis=1)))
