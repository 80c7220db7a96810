"""What an executor is: a place that runs functions and returns futures."""

from __future__ import annotations

import copy
import dataclasses
import math
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from typing import Any, Protocol, TypeVar

from moenas.errors import ConfigError, MoENASError
from moenas.registry import Registry

R = TypeVar("R")


class WorkerDiedError(MoENASError):
    """A worker process was killed (out of memory, mostly) more often than it is started again."""


def portable(error: Exception) -> Exception:
    """Return an error that another process can be sent: itself, or one that says the same.

    One whose class takes other arguments than it keeps cannot be made again on the other side,
    which would pass for the death of the worker.
    """
    try:
        if str(copy.deepcopy(error)) == str(error):  # made again as the other side would
            return error
    except Exception:  # noqa: S110 - its class may do anything
        pass
    kind = MoENASError if isinstance(error, MoENASError) else RuntimeError
    return kind(f"{type(error).__name__}: {error}")


@dataclasses.dataclass(frozen=True)
class Share:
    """What one function needs of a machine.

    Attributes:
        cpus: Cores, which are also its threads.
        gpus: GPUs, or a part of one: 0.25 puts four on a GPU.
        memory_gb: Memory in GiB that is set aside for it; None: not counted.
    """

    cpus: float = 1
    gpus: float = 0
    memory_gb: float | None = None

    def __post_init__(self) -> None:
        memory = 1.0 if self.memory_gb is None else self.memory_gb
        if self.cpus < 0 or self.gpus < 0 or memory <= 0 or not self.cpus + self.gpus > 0:
            raise ConfigError(f"A training needs a part of a CPU or a GPU, and memory; not {self}.")
        if self.gpus > 1 and self.gpus % 1:
            raise ConfigError(f"gpus must be a part of one or a whole number, not {self.gpus}.")

    def __str__(self) -> str:
        parts = [f"{self.cpus:g} CPUs", f"{self.gpus:g} GPUs"]
        parts += [] if self.memory_gb is None else [f"{self.memory_gb:g} GiB"]
        return ", ".join(parts)

    def fits(self, machine: Mapping[str, float]) -> int:
        """How often a machine has it: ``CPU``, ``GPU`` and ``memory`` in bytes."""
        counts = []
        for need, name in ((self.cpus, "CPU"), (self.gpus, "GPU")):
            if need:
                have = machine.get(name, 0)
                # Parts of GPUs do not add up: each function's part is of one GPU.
                shares = math.floor(1 / need + 1e-9)  # 1 // 0.2 is 4: 0.2 is above a fifth
                counts.append(have * shares if need < 1 else have // need)
        if self.memory_gb is not None:
            counts.append(machine.get("memory", 0) // (self.memory_gb * 2**30))
        return int(min(counts))


class Executor(Protocol):
    """Runs functions elsewhere. The audit, the search and the finalists share one."""

    @property
    def workers(self) -> int:
        """How many functions run at once."""
        ...

    def submit(self, function: Callable[..., R], /, *arguments: Any) -> Future[R]:
        """Run ``function(*arguments)``; both must be picklable, the function at module level."""
        ...

    def shutdown(self, *, now: bool = False) -> None:
        """End the workers, at once if ``now``; what they had saved stays."""
        ...


EXECUTORS: Registry[Callable[..., Executor]] = Registry("executor")
