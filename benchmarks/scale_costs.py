"""What the real driver, sampler and storage spend on a trial while others run."""

from __future__ import annotations

import contextlib
import dataclasses
import sqlite3
import time
from collections import Counter, deque
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import numpy as np
import optuna

from moenas.runs import RunFolder
from moenas.training.job import TrainingJob
from moenas.training.outcome import JobResult
from scale_study import make_driver, result_of

BURST = 8  # results that come together


@dataclasses.dataclass(frozen=True)
class DriverCosts:
    """CPU seconds of the driver's process and counts, each a trial; waits for the disk not counted.

    Attributes:
        tell: To store a result.
        first: To ask for, store and submit a trial when there are new results.
        following: The same, for another one in the same round.
        storage: Those of tell and first or following that are the storage's.
        calls: Of the storage.
        writes: Those of them that change it; each waits for the disk.
    """

    tell: float
    first: float
    following: float
    storage: float
    calls: float
    writes: float


class Storage:
    """Counts a storage's calls and their CPU seconds, from when it is put in place."""

    def __init__(self, study: optuna.Study) -> None:
        self.calls: Counter[str] = Counter()
        self.seconds = 0.0
        storage = study._storage
        for name in dir(optuna.storages.BaseStorage):
            if name.startswith(("get_", "set_", "create_")):
                setattr(storage, name, self._timed(name, getattr(storage, name)))

    def _timed(self, name: str, method: Any) -> Any:
        def call(*arguments: Any, **named: Any) -> Any:
            start = time.process_time()
            try:
                return method(*arguments, **named)
            finally:
                self.calls[name] += 1
                self.seconds += time.process_time() - start

        return call


class Enough(Exception):  # noqa: N818 - it is no error
    """What was to be measured is measured."""


class Crowd:
    """An executor of many workers: whenever all are at work, `BURST` results come together."""

    def __init__(self, workers: int, bursts: int) -> None:
        self.workers = workers
        self.steps: dict[str, list[float]] = {"tell": [], "first": [], "following": []}
        self.storage: Storage | None = None
        self.before: tuple[int, int, float] | None = None
        self._left = bursts
        self._running: deque[tuple[Future[JobResult], str]] = deque()
        self._next = ""
        self._since = 0.0

    def submit(self, function: Any, job: TrainingJob) -> Future[JobResult]:
        """Take a trial; when all workers have one, the oldest ones are done."""
        self._step(self._next)
        self._next = "following"
        future: Future[JobResult] = Future()
        self._running.append((future, job.architecture))
        if len(self._running) == self.workers:
            if not self._left:
                raise Enough
            self._left -= 1
            for _ in range(min(BURST, self.workers)):
                done, architecture = self._running.popleft()
                done.set_result(result_of(architecture))
            self.before = self.before or self.counts()
            self._since = time.process_time()
        return future

    def told(self, trial: optuna.trial.FrozenTrial) -> None:
        """Note that the driver has stored a result."""
        self._step("tell")
        self._next = "first"

    def counts(self) -> tuple[int, int, float]:
        """Calls, writes and seconds of the storage so far."""
        assert self.storage is not None
        calls = self.storage.calls
        writes = sum(n for name, n in calls.items() if not name.startswith("get_"))
        return calls.total(), writes, self.storage.seconds

    def _step(self, name: str) -> None:
        now = time.process_time()
        if self.before is not None:  # the crowd is complete: what was before was its arrival
            self.steps[name].append(now - self._since)
        self._since = now


def commit_seconds(folder: Path, commits: int = 40) -> float:
    """Measure the wall seconds of a small SQLite commit there; the quicker quarter counts."""
    times = []
    with contextlib.closing(sqlite3.connect(folder / "commits.db")) as file:
        file.execute("CREATE TABLE numbers (n INTEGER)")
        for number in range(commits):
            start = time.perf_counter()
            file.execute("INSERT INTO numbers VALUES (?)", [number])
            file.commit()
            times.append(time.perf_counter() - start)
    (folder / "commits.db").unlink()
    return float(np.quantile(times, 0.25))


def driver_costs(run: RunFolder, running: int, bursts: int) -> DriverCosts:
    """Measure on a study in which ``running`` trials run; the study goes on by some trials."""
    crowd = Crowd(running, bursts)
    driver = make_driver(run, crowd, on_result=crowd.told)
    crowd.storage = Storage(driver.study)
    with contextlib.suppress(Enough):
        driver.run(10**6)
    assert crowd.before is not None
    trials = len(crowd.steps["tell"])
    calls, writes, seconds = (
        (after - before) / trials
        for before, after in zip(crowd.before, crowd.counts(), strict=True)
    )
    found = {name: float(np.median(steps or [0.0])) for name, steps in crowd.steps.items()}
    # Every eighth trial has a pool of its own, so of those that follow the mean counts.
    found["following"] = float(np.mean(crowd.steps["following"] or [found["first"]]))
    return DriverCosts(**found, storage=seconds, calls=calls, writes=writes)
