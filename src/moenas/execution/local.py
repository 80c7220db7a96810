"""Processes on this machine: each has its own device and few threads; killed ones come back."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import Any, TypeVar

import torch

from moenas.execution.executor import EXECUTORS, WorkerDiedError
from moenas.runtime import available_cores, keep_freed_memory

R = TypeVar("R")


class LocalExecutor:
    """Runs functions in ``workers`` processes.

    A worker that is killed takes its pool along: the pool is made anew and what was running is run
    again, at most ``retries`` times. Workers end with their parent, however that ends.

    Args:
        workers: Number of processes. With CUDA, worker i sees GPU i (modulo their number) alone.
        threads: torch threads of each; by default the cores shared out.
        retries: How often a function whose worker died is run again.
    """

    def __init__(self, workers: int, *, threads: int | None = None, retries: int = 2) -> None:
        self.workers = workers
        self._threads = threads or max(1, available_cores() // workers)
        self._retries = retries
        self._context = multiprocessing.get_context("spawn")
        self._stop = self._context.Event()
        self._lock = threading.Lock()
        self._closed = False
        self._pool = self._new_pool()

    def submit(self, function: Callable[..., R], /, *arguments: Any) -> Future[R]:
        """Run ``function(*arguments)`` in a worker."""
        outer: Future[R] = Future()
        self._start(outer, function, arguments, self._retries)
        return outer

    def shutdown(self, *, now: bool = False) -> None:
        """End the workers: after their work, or at once."""
        self._closed = True
        if now:
            self._stop.set()
        self._pool.shutdown(wait=True, cancel_futures=True)

    def __enter__(self) -> LocalExecutor:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self.shutdown(now=kind is not None)

    def _new_pool(self) -> ProcessPoolExecutor:
        ranks = self._context.SimpleQueue()
        for rank in range(self.workers):
            ranks.put(rank)
        return ProcessPoolExecutor(
            self.workers,
            mp_context=self._context,
            initializer=_prepare_worker,
            initargs=(ranks, self._threads, self._stop, os.getpid()),
        )

    def _start(
        self, outer: Future[R], function: Callable[..., R], arguments: tuple[Any, ...], left: int
    ) -> None:
        with self._lock:
            pool = self._pool
            try:
                inner = pool.submit(function, *arguments)
            except BrokenProcessPool:
                pool = self._pool = self._new_pool()
                inner = pool.submit(function, *arguments)

        def finish(done: Future[R]) -> None:
            error = None if done.cancelled() else done.exception()
            if done.cancelled() or (isinstance(error, BrokenProcessPool) and self._closed):
                outer.cancel()
                outer.set_running_or_notify_cancel()
            elif isinstance(error, BrokenProcessPool):
                with self._lock:
                    if self._pool is pool:
                        self._pool = self._new_pool()
                if left > 0:
                    self._start(outer, function, arguments, left - 1)
                else:
                    outer.set_exception(
                        WorkerDiedError(
                            f"The worker died {self._retries + 1} times at the same work. It was "
                            "killed from outside, by the system for lack of memory most likely: "
                            "try fewer --workers or a smaller batch."
                        )
                    )
            elif error is not None:
                outer.set_exception(error)
            else:
                outer.set_result(done.result())

        inner.add_done_callback(finish)


def _prepare_worker(ranks: Any, threads: int, stop: Any, parent: int) -> None:
    """Run first in each worker process."""
    rank = ranks.get()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle
    threading.Thread(target=_end_with_parent, args=(stop, parent), daemon=True).start()
    keep_freed_memory()
    torch.set_num_threads(threads)
    if torch.cuda.is_available():
        torch.cuda.set_device(rank % torch.cuda.device_count())


def _end_with_parent(stop: Any, parent: int) -> None:
    while not stop.wait(0.5):
        if os.getppid() != parent:
            break
    os._exit(1)


EXECUTORS.add("local", LocalExecutor)
