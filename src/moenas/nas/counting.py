"""How many architectures there are to try: a small space ends a search before its trials do."""

from __future__ import annotations

import contextlib

import numpy as np

from moenas.errors import SearchError
from moenas.nas.space import SearchSpace


def count_feasible(space: SearchSpace, enough: int) -> int:
    """Count the points of a space within its limits, up to ``enough``."""
    count = 0
    for base in space.bases:
        with contextlib.suppress(SearchError):  # a wider model may be above a limit in itself
            count += _count_vectors(space.of(base), enough)
    return min(count, enough)


def _count_vectors(space: SearchSpace, enough: int) -> int:
    vectors = np.full((1, space.layers), space.low)
    for layer in range(space.layers):  # the layers after it have the fewest experts
        more = np.repeat(vectors, space.high - space.low + 1, axis=0)
        more[:, layer] = np.tile(np.arange(space.low, space.high + 1), len(vectors))
        vectors = more[space.feasible(more)]
        if len(vectors) >= enough:
            return enough
    return len(vectors)
