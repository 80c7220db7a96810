"""What an executor is: a place that runs functions and returns futures."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, Protocol, TypeVar

from moenas.errors import MoENASError
from moenas.registry import Registry

R = TypeVar("R")


class WorkerDiedError(MoENASError):
    """A worker process was killed (out of memory, mostly) more often than it is started again."""


class Executor(Protocol):
    """Runs functions elsewhere. The audit, the search and the finalists share one."""

    workers: int
    """How many functions run at once."""

    def submit(self, function: Callable[..., R], /, *arguments: Any) -> Future[R]:
        """Run ``function(*arguments)``; both must be picklable, the function at module level."""
        ...

    def shutdown(self, *, now: bool = False) -> None:
        """End the workers, at once if ``now``; what they had saved stays."""
        ...


EXECUTORS: Registry[Callable[[int], Executor]] = Registry("executor")
