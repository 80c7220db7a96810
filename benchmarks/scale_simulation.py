"""A search on many workers, simulated: what the driver costs, how long workers wait for it.

The driver of a search (`moenas.nas.driver.StudyDriver`) is one process that does one thing at a
time: it tells the results that have come, then asks for one new trial for each free worker. The
first suggestion after new results fits the sampler's models anew; those that follow in the same
round share them. The simulation walks through this loop on a clock of its own.
"""

from __future__ import annotations

import dataclasses
import heapq
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


@dataclasses.dataclass(frozen=True)
class Costs:
    """Seconds that the driver spends, each [N] by the number of finished trials 0..N-1.

    Attributes:
        tell: To store one result.
        first: To ask for, store and submit a trial when there are new results.
        following: The same, for another trial of the round.
    """

    tell: Array
    first: Array
    following: Array


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What a simulated search came to.

    Attributes:
        utilisation: Share of the workers' time that trials had, until the last trial began: the
            end, at which there is nothing left to hand out, is no matter of the driver.
        wait: Mean seconds from the end of a trial to the begin of the worker's next one.
        rate: Trials handed out a second, over the same time.
        fits: Share of the suggestions for which the models were fitted anew.
    """

    utilisation: float
    wait: float
    rate: float
    fits: float


def simulate(workers: int, durations: Sequence[float], costs: Costs) -> Outcome:
    """Run trials of these durations, in seconds, and return what it came to.

    Args:
        workers: How many trials run at once.
        durations: Of each trial, in the order in which they begin; more than there are workers.
        costs: At least as long as there are trials.
    """
    clock = busy = waited = 0.0
    finished = fits = 0
    new_results = True
    running: list[float] = []  # when each will end
    begun: list[tuple[float, float]] = []  # when each began and what it takes
    free = [0.0] * workers  # since when
    while True:
        while free and len(begun) < len(durations):
            clock += float((costs.first if new_results else costs.following)[finished])
            fits += new_results
            new_results = False
            since = free.pop(0)
            waited += clock - since if len(begun) >= workers else 0.0
            duration = durations[len(begun)]
            begun.append((clock, duration))
            heapq.heappush(running, clock + duration)
        if len(begun) == len(durations):
            break
        clock = max(clock, running[0])
        while running and running[0] <= clock:
            free.append(heapq.heappop(running))
        for _ in range(len(free)):
            clock += float(costs.tell[finished])
            finished += 1
        new_results = True
    busy = sum(min(duration, clock - start) for start, duration in begun)
    return Outcome(
        utilisation=busy / (workers * clock),
        wait=waited / (len(durations) - workers),
        rate=len(durations) / clock,
        fits=fits / len(durations),
    )


def interpolated(known: dict[tuple[int, int], float], finished: int, pending: int) -> Array:
    """Return a cost for 0..finished-1 finished trials, while ``pending`` others run.

    Args:
        known: What was measured, by (finished, pending): each combination of a few of both.
        finished: N; linear between those measured, beyond them the nearest.
        pending: Along the line through the fewest and the most that were measured: the storage
            reads each of them. Never below half of the least that was measured.
    """
    marks = sorted({n for n, _ in known})
    low, high = min(p for _, p in known), max(p for _, p in known)
    share = (pending - low) / (high - low)
    at = [
        max(known[n, low] + share * (known[n, high] - known[n, low]), known[n, low] / 2)
        for n in marks
    ]
    return np.interp(np.arange(finished), marks, at)
