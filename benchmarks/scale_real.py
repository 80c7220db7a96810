"""Measured, not simulated: executors with real processes, and the restart of a long search."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

import scale_work
from moenas.execution.local import LocalExecutor
from moenas.runs import RunFolder
from moenas.training.job import TrainingJob
from moenas.training.outcome import JobResult
from scale_study import make_driver, make_study

HERE = Path(__file__).parent


@contextmanager
def local(workers: int) -> Iterator[LocalExecutor]:
    """Processes of this machine."""
    with LocalExecutor(workers) as executor:
        yield executor


@contextmanager
def ray(workers: int) -> Iterator[Any]:
    """A Ray cluster of one machine that says it has so many cores."""
    from ray.cluster_utils import Cluster

    from moenas.execution.ray import RayExecutor

    os.environ["RAY_AUTH_MODE"] = "disabled"
    path = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = os.pathsep.join([str(HERE), *([path] if path else [])])
    cluster = Cluster(
        initialize_head=True, head_node_args={"num_cpus": workers, "include_dashboard": False}
    )
    try:
        with RayExecutor(address=cluster.address) as executor:
            yield executor
    finally:
        cluster.shutdown()


EXECUTORS = {"local": local, "ray": ray}


class Sleepers:
    """Has an executor's workers sleep where a search would train, and notes when.

    Attributes:
        spans: Begin and end of each trial, as the driver sees them.
    """

    def __init__(self, executor: Any, seconds: float) -> None:
        self.spans: list[list[float]] = []
        self._executor = executor
        self._seconds = seconds

    @property
    def workers(self) -> int:
        """As many as the executor has."""
        return int(self._executor.workers)

    def submit(self, function: Any, job: TrainingJob) -> Future[JobResult]:
        """Sleep elsewhere."""
        span = [time.monotonic(), np.inf]
        self.spans.append(span)
        future: Future[JobResult] = self._executor.submit(
            scale_work.sleep, job.architecture, self._seconds
        )
        future.add_done_callback(lambda _: span.__setitem__(1, time.monotonic()))
        return future


def overhead(name: str, calls: int) -> list[float]:
    """Return the wall seconds of so many calls of nothing, one after the other."""
    with EXECUTORS[name](1) as executor:
        for _ in range(5):
            executor.submit(scale_work.nothing).result()
        times = []
        for _ in range(calls):
            start = time.perf_counter()
            executor.submit(scale_work.nothing).result()
            times.append(time.perf_counter() - start)
    return times


def utilisation(name: str, workers: int, seconds: float, trials: int, folder: Path) -> float:
    """Return the share of the workers' time that was sleep in a search by the real driver.

    Counted from the first trial's begin to the last one's, as in the simulation.
    """
    shutil.rmtree(folder, ignore_errors=True)
    with EXECUTORS[name](workers) as executor:
        for warm in [executor.submit(scale_work.nothing) for _ in range(2 * workers)]:
            warm.result()
        sleepers = Sleepers(executor, seconds)
        make_driver(RunFolder.create(folder, "search", {}), sleepers).run(trials)
    first, last = sleepers.spans[0][0], sleepers.spans[-1][0]
    busy = sum(min(seconds, max(last - begin, 0)) for begin, _ in sleepers.spans)
    return busy / (workers * (last - first))


RESTART = """
import resource, sys, time
sys.path.insert(0, sys.argv[1])
from scale_study import AtOnce, make_driver
from moenas.runs import RunFolder
from moenas.nas.progress import SearchProgress
from moenas.nas.objectives import PAPER_OBJECTIVES
run, trials = RunFolder.open(sys.argv[2]), int(sys.argv[3])
def first(number, job):
    assert number == trials
    spent = resource.getrusage(resource.RUSAGE_SELF)
    print(spent.ru_utime + spent.ru_stime, flush=True)
driver = make_driver(run, AtOnce(), on_start=first)
SearchProgress.of(driver.study, PAPER_OBJECTIVES, trials + 1)
driver.run(trials + 1)
"""


def restart(folder: Path, trials: int) -> tuple[float, float]:
    """Return wall and CPU seconds from a process' start to the first new trial of a study.

    The process imports what a search imports, opens the study, counts its progress and asks the
    sampler. Reading images and the parents' scores is not in it.
    """
    shutil.rmtree(folder, ignore_errors=True)
    run = make_study(folder, trials)
    start = time.perf_counter()
    command = [sys.executable, "-c", RESTART, str(HERE), str(run.path), str(trials)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        line = process.stdout.readline()
        wall = time.perf_counter() - start
    if not line:
        raise RuntimeError("The search did not start again; see above.")
    return wall, float(line)
