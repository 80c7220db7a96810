"""How a command runs, as opposed to what it computes: these never change a result."""

from __future__ import annotations

import dataclasses
import time

import torch

from moenas.errors import ConfigError
from moenas.execution.local import LocalExecutor
from moenas.runtime import available_cores, pick_device


@dataclasses.dataclass(frozen=True)
class Resources:
    """Where and how long to compute.

    Attributes:
        workers: Trainings at once; None: one a GPU, or one a core up to four. Small models train
            fastest with one thread each.
        device: ``auto``, ``cpu``, ``cuda``, ``mps``.
        time_limit: Minutes after which the command saves and stops; run it again to go on.
    """

    workers: int | None = None
    device: str = "auto"
    time_limit: float | None = None

    def __post_init__(self) -> None:
        if self.workers is not None and self.workers < 1:
            raise ConfigError(f"workers must be at least 1, not {self.workers}.")
        if self.time_limit is not None and not self.time_limit > 0:
            raise ConfigError(f"time_limit must be above 0 minutes, not {self.time_limit}.")

    def count_workers(self) -> int:
        """The number of workers that will run."""
        if self.workers is not None:
            return self.workers
        device = pick_device(self.device)
        if device.type == "cuda":
            return max(1, torch.cuda.device_count())
        return 1 if device.type == "mps" else min(4, available_cores())

    def precision(self) -> str:
        """bf16 where the device gains from it without losing range, else float32."""
        return "bf16" if pick_device(self.device).type == "cuda" else "no"

    def deadline(self) -> float | None:
        """The `time.monotonic` value at which the time limit comes, counted from now."""
        return None if self.time_limit is None else time.monotonic() + 60 * self.time_limit

    def executor(self) -> LocalExecutor:
        """Start the workers."""
        return LocalExecutor(self.count_workers())
