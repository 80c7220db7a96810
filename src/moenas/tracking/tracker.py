"""What a tracker is: a place elsewhere that draws the numbers of many runs beside each other."""

from __future__ import annotations

import dataclasses
import importlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Protocol

from moenas.runs import RunFolder

TrackerName = Literal["tensorboard", "mlflow", "wandb"]


@dataclasses.dataclass(frozen=True)
class Point:
    """Numbers of one step.

    Attributes:
        series: What they are of, e.g. ``trial``; the numbers are called ``series/name``.
        step: Place in the series; each is tracked once.
        values: Numbers by name, all finite.
        time: When they were there, seconds since 1970.
    """

    series: str
    step: int
    values: Mapping[str, float]
    time: float


class Tracker(Protocol):
    """A tracker's client. All but its making happens in a thread and may fail: it is tried again.

    Attributes:
        where: The server or folder; a run that was tracked elsewhere is tracked anew.
    """

    where: str

    def start(self, known: str | None, token: str) -> str:
        """Begin a run, or go on with a known one; return its id, another where it was deleted.

        Args:
            known: The id, once it was noted.
            token: Hexadecimal digits of this run alone. One that was begun with it, by a process
                that was killed before it noted the id, is found by it and goes on.
        """
        ...

    def add(self, points: Sequence[Point]) -> None:
        """Record points; the same ones again, after an error, change nothing."""
        ...

    def attach(self, file: Path) -> None:
        """Keep a file, or its name, with the run."""
        ...

    def end(self, outcome: str) -> None:
        """End the run: ``finished``, ``stopped`` (it goes on later) or ``failed``."""
        ...


_CLIENTS = {
    "tensorboard": ("moenas.tracking.tensorboard_files", "TensorBoardFiles"),
    "mlflow": ("moenas.tracking.mlflow_server", "MlflowServer"),
    "wandb": ("moenas.tracking.wandb_run", "WandbRun"),
}
"""Modules by name; each imports its library, seconds of it."""


def make_tracker(name: TrackerName, folder: RunFolder, settings: Mapping[str, Any]) -> Tracker:
    """Return a tracker's client, which has reached nobody yet.

    Args:
        name: Which.
        folder: The run.
        settings: Of the run, JSON-ready; they are shown with it.

    Raises:
        MissingDependencyError: Its library is not installed.
        ConfigError: The environment does not say where it is.
    """
    module, client = _CLIENTS[name]
    tracker: Tracker = getattr(importlib.import_module(module), client)(folder, settings)
    return tracker
