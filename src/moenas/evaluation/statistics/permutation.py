"""Random relabellings of groups that make no difference to a fair model, on counts.

Axes: B draws, G groups, V = 1 + M values of a row: its weight, and weight × correct of M models.
Nothing here depends on the order of rows: what is exchangeable is put into a canonical order first.
"""

from __future__ import annotations

import itertools
import math

import numpy as np
import numpy.typing as npt
import pandas as pd

from moenas.evaluation.statistics.permutation_limit import many_answers, swap_limit
from moenas.metrics.tally import F64

I64 = npt.NDArray[np.int64]

_CHUNK = 4_000_000
"""Numbers held at a time."""
_ARRANGEMENTS = 1024
"""Blocks with at most so many distinct arrangements are drawn by arrangement."""
_BINOMIAL = 6
"""From so many balls a bin on, binomial numbers are faster than single throws (measured)."""
_MIN_CLUSTERS = 10
"""Clusters of a size that fewer have swap groups with clusters of other sizes."""
_TABLE = 5
"""Orders of up to so many rows are drawn from a table of all."""


def permute_blocks(
    cluster: I64, group: I64, values: F64, shape: tuple[int, int, int], rng: np.random.Generator
) -> F64:
    """Permute the groups that a cluster has among themselves, alike for all its rows.

    Which groups a cluster lacks is a matter of the data, not of chance: where a hard scene shows no
    light tone, light tones are recognised more often by a fair model, too.

    Args:
        cluster: [n] cluster of each row.
        group: [n] index of its group.
        values: [n, V].
        shape: (B, V, G).
        rng: Where permutations come from.

    Returns:
        [B, V, G] sums of each group under each relabelling.
    """
    draws, width, groups = shape
    _, cluster = np.unique(cluster, return_inverse=True)
    blocks = np.zeros((int(cluster.max()) + 1, groups, width))
    np.add.at(blocks, (cluster, group), values)
    blocks = blocks.round(9)
    sums = np.zeros(shape)
    patterns, alike = np.unique(blocks[..., 0] > 0, axis=0, return_inverse=True)
    for number, present in enumerate(patterns):
        own = blocks[alike.ravel() == number][:, present]
        sums[:, :, present] += _permute_whole(own, draws, rng)
    return sums


def _permute_whole(blocks: F64, draws: int, rng: np.random.Generator) -> F64:
    """[B, V, G] sums of each group where each of the blocks [K, G, V] has all groups."""
    _, groups, width = blocks.shape
    for block in blocks:
        block[:] = block[np.lexsort(block.T)]
    kinds, number = np.unique(blocks.reshape(len(blocks), -1), axis=0, return_counts=True)
    sums = np.zeros((draws, groups, width))
    singly = []
    for kind, copies in zip(kinds.reshape(-1, groups, width), number, strict=True):
        vectors, times = np.unique(kind, axis=0, return_counts=True)
        if len(vectors) == 1:
            sums += copies * kind
        elif len(vectors) == 2 and math.comb(groups, int(times[0])) <= _ARRANGEMENTS:
            places = np.array(list(itertools.combinations(range(groups), int(times[0]))))
            here = np.zeros((len(places), groups))
            np.put_along_axis(here, places, 1.0, axis=1)
            often = (_throw(int(copies), len(places), draws, rng) @ here)[..., None]
            sums += often * vectors[0] + (copies - often) * vectors[1]
        else:
            singly += [kind] * int(copies)
    if singly:
        stack = np.stack(singly)
        chunk = max(1, _CHUNK // stack.size)
        for start in range(0, draws, chunk):
            stop = min(start + chunk, draws)
            keys = rng.random((stop - start, len(stack), groups), dtype=np.float32)
            order = np.argsort(keys, axis=-1)
            sums[start:stop] += stack[np.arange(len(stack))[:, None], order].sum(1)
    return sums.transpose(0, 2, 1)


def _throw(balls: int, bins: int, draws: int, rng: np.random.Generator) -> F64:
    """[draws, bins] how many of ``balls`` fall into each bin, all bins alike."""
    if balls > _BINOMIAL * bins:
        return rng.multinomial(balls, np.full(bins, 1 / bins), size=draws).astype(np.float64)
    result = np.zeros((draws, bins))
    chunk = max(1, _CHUNK // balls)
    for start in range(0, draws, chunk):
        n = min(chunk, draws - start)
        fallen = rng.integers(0, bins, size=(n, balls)) + np.arange(n)[:, None] * bins
        result[start : start + n] = np.bincount(fallen.ravel(), minlength=n * bins).reshape(n, bins)
    return result


def swap_clusters(
    cluster: I64, group: I64, values: F64, shape: tuple[int, int, int], rng: np.random.Generator
) -> F64:
    """Let clusters of equal size swap the groups of their rows, and rows within a cluster too.

    Weights stay with the groups: a soft label of a group is a group with a weight. Arguments and
    result as in `permute_blocks`.
    """
    keep = values[:, 0] > 0
    cluster = pd.factorize(cluster[keep], sort=True)[0]  # a third of the time of np.unique
    group, weight = group[keep], values[keep, 0].round(9)
    right = np.rint(values[keep, 1:] / values[keep, :1])
    size = np.bincount(cluster)[cluster]
    sums = np.zeros(shape)
    rest = np.zeros(len(size), dtype=np.bool_)
    for rows_each in np.unique(size):
        rows = np.flatnonzero(size == rows_each)
        if len(rows) < _MIN_CLUSTERS * rows_each:
            rest[rows] = True
            continue
        if rows_each > 1:
            rows = rows[_canonical(cluster[rows], group[rows], weight[rows], right[rows])]
        part = group[rows], weight[rows], right[rows]
        if rows_each == 1 and (weight[rows] == weight[rows[0]]).all():
            sums += _deal(part[0], part[2], shape, rng) * weight[rows[0]]
        elif many_answers(part[0], part[2], shape[2]):
            sums += swap_limit(*part, int(rows_each), shape, rng)
        else:
            sums += _swap_equal(*part, int(rows_each), shape, rng)
    if rest.any():
        rows = np.flatnonzero(rest)
        rows = rows[_canonical(cluster[rows], group[rows], weight[rows], right[rows])]
        sums += _swap_profiles(cluster[rows], group[rows], weight[rows], right[rows], shape, rng)
    return sums


def _canonical(cluster: I64, group: I64, weight: F64, right: F64) -> I64:
    """[n] the order of rows cluster by cluster, and by what they hold within each."""
    return np.lexsort((*right.T, weight, group, cluster))


def _deal(group: I64, right: F64, shape: tuple[int, int, int], rng: np.random.Generator) -> F64:
    """Deal rows of weight 1 to the groups' places: kinds of rows one after the other.

    A kind is a combination of the M models' answers; how many of its rows each group gets is
    hypergeometric, given the places that are left.
    """
    draws, _, groups = shape
    kinds, number = np.unique(right, axis=0, return_counts=True)
    left = np.tile(np.bincount(group, minlength=groups), (draws, 1))
    sums = np.zeros(shape)
    sums[:, 0] = left
    for kind in np.argsort(number, kind="stable"):
        need = np.full(draws, number[kind])
        last = int(number[kind]) == int(left[0].sum())
        for place in range(groups):
            if last:
                got = left[:, place].copy()
            else:
                others = left[:, place + 1 :].sum(1)
                got = rng.hypergeometric(left[:, place], others, need)
            left[:, place] -= got
            need = need - got
            sums[:, 1:, place] += got[:, None] * kinds[kind]
    return sums


def _swap_equal(
    group: I64,
    weight: F64,
    right: F64,
    rows_each: int,
    shape: tuple[int, int, int],
    rng: np.random.Generator,
) -> F64:
    """Clusters of one size swap groups. Rows come cluster by cluster.

    Most clusters hold the most frequent answers in all rows (all right, for a good model): only
    where the others go has to be drawn.
    """
    draws, width, groups = shape
    group, weight = group.reshape(-1, rows_each), weight.reshape(-1, rows_each)
    right = right.reshape(-1, rows_each, width - 1)
    order = np.lexsort((*weight.T, *group.T))
    group, weight = group[order], weight[order]
    right = right[np.lexsort(right.reshape(len(right), -1).T)]
    flat, number = np.unique(right.reshape(-1, width - 1), axis=0, return_counts=True)
    usual = flat[np.argmax(number)]
    odd = right[(right != usual).any((1, 2))] - usual
    clusters, count = len(group), len(odd)
    sums = np.zeros(shape)
    totals = np.bincount(group.ravel(), weight.ravel(), groups)
    sums[:, 0] = totals
    sums[:, 1:] = usual[:, None] * totals
    if not count:
        return sums
    changed, place = np.nonzero(odd.any(2))
    change = odd[changed, place]
    flat_group, flat_weight = group.ravel(), weight.ravel()
    chunk = max(1, _CHUNK // (clusters + count * rows_each))
    for start in range(0, draws, chunk):
        n = min(chunk, draws - start)
        host = _sample(clusters, count, n, rng)
        row = host[:, changed] * rows_each + _orders(rows_each, (n, count), rng)[:, changed, place]
        index = (flat_group[row] + np.arange(n)[:, None] * groups).ravel()
        heft = flat_weight[row]
        for model in range(width - 1):
            moved = (heft * change[:, model]).ravel()
            found = np.bincount(index, moved, n * groups).reshape(n, groups)
            sums[start : start + n, 1 + model] += found
    return sums


def _sample(population: int, count: int, draws: int, rng: np.random.Generator) -> I64:
    """[draws, count] of ``range(population)`` without replacement: Fisher–Yates on all draws."""
    pool = np.repeat(np.arange(population)[:, None], draws, axis=1)
    columns = np.arange(draws)
    for number in range(count):
        other = rng.integers(number, population, size=draws)
        picked = pool[other, columns]
        pool[other, columns] = pool[number]
        pool[number] = picked
    return pool[:count].T


def _orders(length: int, shape: tuple[int, int], rng: np.random.Generator) -> I64:
    """[*shape, length] random orders."""
    if length <= _TABLE:
        table = np.array(list(itertools.permutations(range(length))))
        return table[rng.integers(0, len(table), size=shape)]
    return np.argsort(rng.random((*shape, length), dtype=np.float32), axis=-1)


def _swap_profiles(
    cluster: I64,
    group: I64,
    weight: F64,
    right: F64,
    shape: tuple[int, int, int],
    rng: np.random.Generator,
) -> F64:
    """Clusters of different sizes swap their shares of groups; a group's size changes with it."""
    draws, width, groups = shape
    _, cluster = np.unique(cluster, return_inverse=True)
    profile = np.zeros((int(cluster.max()) + 1, groups))
    np.add.at(profile, (cluster, group), weight)
    values = np.zeros((len(profile), width))
    np.add.at(values, cluster, weight[:, None] * np.hstack([np.ones((len(right), 1)), right]))
    profile = (profile / profile.sum(1, keepdims=True)).round(9)
    order = np.lexsort((*values.T, *profile.T))
    profile, values = profile[order], values[order]
    sums = np.zeros(shape)
    chunk = max(1, _CHUNK // profile.size)
    for start in range(0, draws, chunk):
        stop = min(start + chunk, draws)
        keys = rng.random((stop - start, len(profile)), dtype=np.float32)
        swapped = profile[np.argsort(keys, axis=-1)]
        sums[start:stop] = np.einsum("bkg,kv->bvg", swapped, values)
    return sums
