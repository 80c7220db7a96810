"""How a command runs, as opposed to what it computes: these never change a result."""

from __future__ import annotations

import dataclasses
import time
from typing import Literal

import torch

from moenas.errors import ConfigError
from moenas.execution.local import LocalExecutor
from moenas.execution.ray import RayExecutor
from moenas.runtime import available_cores, pick_device
from moenas.tracking.tracker import TrackerName


@dataclasses.dataclass(frozen=True)
class Resources:
    """Where and how long to compute.

    Attributes:
        workers: Trainings at once; None: one a GPU, or one a core up to four. Small models train
            fastest with one thread each.
        device: ``auto``, ``cpu``, ``cuda``, ``mps``.
        time_limit: Minutes after which the command saves and stops; run it again to go on.
        track: Also record the run in ``tensorboard``, ``mlflow`` or ``wandb``.
    """

    workers: int | None = None
    device: str = "auto"
    time_limit: float | None = None
    track: TrackerName | None = None

    def __post_init__(self) -> None:
        if self.workers is not None and self.workers < 1:
            raise ConfigError(f"workers must be at least 1, not {self.workers}.")
        if self.device != "auto":
            pick_device(self.device)  # refuses one that is not there before any work
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

    def deadline(self) -> float | None:
        """The `time.monotonic` value at which the time limit comes, counted from now."""
        return None if self.time_limit is None else time.monotonic() + 60 * self.time_limit

    def start(self) -> LocalExecutor | RayExecutor:
        """Start the workers."""
        return LocalExecutor(self.count_workers())


@dataclasses.dataclass(frozen=True)
class Cluster(Resources):
    """Resources of this machine or of many.

    Attributes:
        executor: ``local`` or ``ray``, a cluster.
        address: Of the cluster; ``auto`` finds one that this machine is part of.
        gpus: Of a cluster's, for each training; a part of one shares it. None: one, if it has any.
        memory_gb: Memory that a cluster sets aside for each training, GiB; None: not counted.
    """

    executor: Literal["local", "ray"] = "local"
    address: str = "auto"
    gpus: float | None = None
    memory_gb: float | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        asked = (self.address, self.gpus, self.memory_gb)
        if self.executor == "local" and asked != ("auto", None, None):
            raise ConfigError(
                "--address, --gpus and --memory-gb are of a cluster: add --executor ray."
            )

    def start(self) -> LocalExecutor | RayExecutor:
        """Start the workers, or join the cluster.

        Raises:
            MoENASError: There is no such cluster, or Ray is not installed.
        """
        if self.executor == "local":
            return super().start()
        return RayExecutor(
            self.workers, address=self.address, gpus=self.gpus, memory_gb=self.memory_gb
        )
