"""Pool replay: what would a search that judges like this have found in the table?

A strategy judges all architectures of the table on the search half; the three that it likes best
(by front, then by contribution to it) are then looked at in *fresh* trainings on the report half,
other seeds than the judging one. Their hypervolume is a share of what all fresh values span.
"""

from __future__ import annotations

import moocore
import numpy as np

from moenas.nas.front import unit_box
from moenas.nas.halving import ranking

Values = np.ndarray
PICKS = 3
RANDOM = 2000


def share(fresh: Values, rows: Values) -> float:
    """Hypervolume of some rows of [n, m] values to maximise, as a share of all rows'."""
    scaled = unit_box(fresh, fresh.max(axis=0), fresh.min(axis=0))
    zero = np.zeros(fresh.shape[1])
    whole = moocore.hypervolume(scaled, ref=zero, maximise=True)
    return float(moocore.hypervolume(scaled[rows], ref=zero, maximise=True) / whole)


def picked(judged: Values, fresh: Values) -> float:
    """Share of the three architectures that a judge [n, m] likes best, in fresh values [n, m]."""
    return share(fresh, ranking(judged, np.ones(len(judged), dtype=bool))[:PICKS])


def at_random(fresh: Values) -> list[float]:
    """Mean share of three random architectures, and 95 % of such draws."""
    rng = np.random.default_rng(0)
    draws = [share(fresh, rng.permutation(len(fresh))[:PICKS]) for _ in range(RANDOM)]
    return [float(np.mean(draws)), *map(float, np.percentile(draws, [2.5, 97.5]))]
