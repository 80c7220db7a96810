"""Processes on this machine: each has its own device and few threads; killed ones come back."""

from __future__ import annotations

import multiprocessing
import os
import queue
import signal
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import CancelledError, Future, ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import Any, TypeVar

import torch

from moenas.execution.executor import EXECUTORS, WorkerDiedError, portable
from moenas.runtime import keep_freed_memory, return_freed_memory, share_cores

R = TypeVar("R")

PRELOADED = ("moenas.execution.local", "moenas.nas.jobs")
"""What forked workers have imported already; names only, for this layer knows none above it."""


def start_method() -> str:
    """How workers are started: ``forkserver`` on Linux without CUDA, else ``spawn``.

    A forked worker is there at once, where a spawned one imports torch for seconds, and shares that
    memory. CUDA and the systems of others do not survive a fork.
    """
    return "forkserver" if sys.platform == "linux" and not torch.cuda.is_available() else "spawn"


class LocalExecutor:
    """Runs functions in ``workers`` processes.

    Each worker is a process of its own: one that is killed is started anew and does its work again,
    at most ``retries`` times, while the others go on. Workers end with their parent, however that
    ends. One whose GPU failed makes room for a new one, or all later work would fail there, too.

    Args:
        workers: Number of processes. With CUDA, worker i uses GPU i (modulo their number).
        threads: torch threads of each. One is fastest for small models, by far on a busy machine.
        retries: How often a function whose worker died is run again.
        method: See `start_method`, which decides by default.
    """

    def __init__(
        self, workers: int, *, threads: int = 1, retries: int = 2, method: str | None = None
    ) -> None:
        self.workers = workers
        self._threads = threads
        self._retries = retries
        self._context = multiprocessing.get_context(method or start_method())
        self._context.set_forkserver_preload(list(PRELOADED))
        # No lock and no event: whoever is killed while it waits for one never lets it go.
        self._stop = self._context.RawValue("b", 0)
        self._closed = False
        self._free: queue.SimpleQueue[int] = queue.SimpleQueue()
        for rank in range(workers):
            self._free.put(rank)
        self._processes: dict[int, ProcessPoolExecutor] = {}
        self._lock = threading.Lock()
        self._waiters = ThreadPoolExecutor(workers, "moenas-worker", _leave_interrupts_to_main)

    def submit(self, function: Callable[..., R], /, *arguments: Any) -> Future[R]:
        """Run ``function(*arguments)`` in a worker."""
        return self._waiters.submit(self._run, function, arguments)

    def shutdown(self, *, now: bool = False) -> None:
        """End the workers: after their work, or at once."""
        if now:
            with self._lock:
                self._closed = True
            self._stop.value = 1
        self._waiters.shutdown(wait=True, cancel_futures=now)
        for process in self._processes.values():
            process.shutdown(wait=True, cancel_futures=True)

    def __enter__(self) -> LocalExecutor:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self.shutdown(now=kind is not None)

    def _run(self, function: Callable[..., R], arguments: tuple[Any, ...]) -> R:
        """Wait, in a thread of this process, for a free worker and for what it returns."""
        rank = self._free.get()
        try:
            for _ in range(self._retries + 1):
                try:
                    return self._process(rank).submit(_work, function, arguments).result()
                except BrokenProcessPool:
                    self._processes.pop(rank).shutdown()
                except Exception as error:
                    if _of_the_gpu(error):
                        self._processes.pop(rank).shutdown()
                    raise
        finally:
            self._free.put(rank)
        raise WorkerDiedError(
            f"The worker died {self._retries + 1} times at the same work. It was killed from "
            "outside, by the system for lack of memory most likely: try fewer --workers or a "
            "smaller batch."
        )

    def _process(self, rank: int) -> ProcessPoolExecutor:
        """The living process of a worker, started when it is first needed."""
        with self._lock:
            if self._closed:
                raise CancelledError
            if rank not in self._processes:
                self._processes[rank] = ProcessPoolExecutor(
                    1,
                    mp_context=self._context,
                    initializer=_prepare_worker,
                    initargs=(rank, self.workers, self._threads, self._stop, dict(os.environ)),
                )
            return self._processes[rank]


def _leave_interrupts_to_main() -> None:
    """Block Ctrl-C in a thread that starts workers: they inherit it, from their first moment."""
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})


def _prepare_worker(
    rank: int, workers: int, threads: int, stop: Any, environment: dict[str, str]
) -> None:
    """Run first in each worker process."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle
    threading.Thread(target=_end_with_parent, args=(stop,), daemon=True).start()
    os.environ.clear()  # a forked one has that of the time when the first was forked
    os.environ.update(environment)
    keep_freed_memory()
    share_cores(workers)
    torch.set_num_threads(threads)
    if torch.cuda.is_available():
        torch.cuda.set_device(rank % torch.cuda.device_count())


def _work(function: Callable[..., R], arguments: tuple[Any, ...]) -> R:
    """Run in a worker; what was freed there must not add to what the next work needs."""
    try:
        return function(*arguments)
    except Exception as error:
        sent = portable(error)
        if sent is error:
            raise
        raise sent from error
    finally:
        return_freed_memory()


def _of_the_gpu(error: Exception) -> bool:
    """Whether a GPU failed in a process, which can then compute nothing more on it."""
    told = any(f"{name} error" in str(error) for name in ("CUDA", "cuDNN", "HIP"))
    return told or type(error).__name__ == "AcceleratorError"  # torch before 2.8 has no such class


def _end_with_parent(stop: Any) -> None:
    parent = multiprocessing.parent_process()
    while not stop.value and parent is not None and parent.is_alive():
        time.sleep(0.1)
    os._exit(1)


EXECUTORS.add("local", LocalExecutor)
