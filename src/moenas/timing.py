"""Interleaved timing: what is compared runs in turns, so that a slow moment hits all alike."""

from __future__ import annotations

import dataclasses
import random
import statistics
import time
from collections.abc import Callable, Mapping

Work = Callable[[], object]


@dataclasses.dataclass(frozen=True)
class Timing:
    """Seconds of several pieces of work, run in turns.

    Attributes:
        seconds: For each name one number a round; entry i of all names is from the same round.
    """

    seconds: dict[str, tuple[float, ...]]

    def quartile(self, name: str) -> float:
        """25th percentile in seconds: what the work takes when little else disturbs it."""
        values = self.seconds[name]
        return statistics.quantiles(values, n=4, method="inclusive")[0] if values[1:] else values[0]

    def ratio(self, name: str, peer: str) -> float:
        """Median over the rounds of ``name``'s time divided by ``peer``'s in the same round."""
        pairs = zip(self.seconds[name], self.seconds[peer], strict=True)
        return statistics.median(mine / theirs for mine, theirs in pairs)


def interleaved(
    work: Mapping[str, Work],
    rounds: int = 20,
    *,
    warm_up: int = 2,
    minimum_seconds: float = 0.0,
    clock: Callable[[], float] = time.perf_counter,
    before: Callable[[str], object] | None = None,
) -> Timing:
    """Time pieces of work in turns, each round in another order.

    The orders are drawn: in a fixed one, and in one that goes back and forth, some work always
    follows the same other work, or itself, and finds what that left in the caches.

    Args:
        work: Name to callable without arguments.
        rounds: How often each is timed.
        warm_up: Calls of each before the clock runs.
        minimum_seconds: Work shorter than this is repeated within one timing until it reaches it,
            and the time of one call is recorded.
        clock: Where the seconds come from.
        before: Called with a name before that name's clock starts, each time: what must be set up,
            or run once so that caches hold what they would hold in steady use.
    """
    before = before or (lambda name: None)
    repeats = {}
    for name, call in work.items():
        before(name)
        for _ in range(max(1, warm_up)):
            start = clock()
            call()
            once = clock() - start
        repeats[name] = max(1, round(minimum_seconds / max(once, 1e-9)))
    seconds: dict[str, list[float]] = {name: [] for name in work}
    names = list(work)
    orders = random.Random(0)
    for _ in range(rounds):
        orders.shuffle(names)
        for name in names:
            call, count = work[name], repeats[name]
            before(name)
            start = clock()
            for _ in range(count):
                call()
            seconds[name].append((clock() - start) / count)
    return Timing({name: tuple(values) for name, values in seconds.items()})
