"""The simulator of `benchmarks/scale.py`, by hand."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.append(str(Path(__file__).parents[2] / "benchmarks"))

from scale_simulation import Costs, interpolated, simulate


def constant(tell: float, first: float, following: float) -> Costs:
    return Costs(*(np.full(100, value) for value in (tell, first, following)))


def test_one_worker_by_hand() -> None:
    """Ask 2, train 10, tell 1, ask 2, train 20, tell 1, ask 2: the third begins at 38."""
    found = simulate(1, [10, 20, 30], constant(1, 2, 99))
    assert found.utilisation == pytest.approx(30 / 38)
    assert found.wait == pytest.approx(3)
    assert found.rate == pytest.approx(3 / 38)
    assert found.fits == 1


def test_two_workers_by_hand() -> None:
    """The driver asks at 0 and is at it until 2, then 3: trials run 2-12 and 3-8.

    At 8 one is told until 9; a third begins at 11. The one that ended at 12 is told until 13, the
    fourth begins at 15.
    """
    found = simulate(2, [10, 5, 6, 7], constant(1, 2, 1))
    assert found.utilisation == pytest.approx((10 + 5 + 4) / (2 * 15))
    assert found.wait == pytest.approx(((11 - 8) + (15 - 12)) / 2)
    assert found.fits == pytest.approx(3 / 4)


def test_results_that_come_together_share_the_fit() -> None:
    """Both begin at 2 and end at 10, are told until 12, and the next ones begin at 14."""
    together = simulate(2, [8, 8, 1, 1], constant(1, 2, 0))
    assert together.fits == pytest.approx(2 / 4)
    assert together.wait == pytest.approx(14 - 10)
    apart = simulate(2, [9, 8, 1, 1], constant(1, 2, 0))
    assert apart.fits == pytest.approx(3 / 4)


def test_costs_grow_with_the_study() -> None:
    costs = Costs(np.zeros(3), np.array([0.0, 4.0, 8.0]), np.zeros(3))
    found = simulate(1, [1, 1, 1], costs)
    assert found.wait == pytest.approx((4 + 8) / 2)
    assert found.utilisation == pytest.approx(2 / 14)


def test_a_free_driver_wastes_nothing() -> None:
    found = simulate(64, [10.0] * 90, constant(0, 0, 0))
    assert found.utilisation == 1
    assert found.wait == 0


def test_costs_between_what_was_measured() -> None:
    known = {(0, 1): 1.0, (10, 1): 2.0, (0, 3): 3.0, (10, 3): 6.0}
    assert interpolated(known, 11, 1)[5] == pytest.approx(1.5)
    assert interpolated(known, 11, 2)[10] == pytest.approx(4)
    assert interpolated(known, 12, 4)[11] == pytest.approx(8)
