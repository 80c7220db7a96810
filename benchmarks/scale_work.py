"""What workers run when the driver and the executors are measured: nothing, or sleep."""

from __future__ import annotations

import time

from moenas.training.outcome import JobResult
from scale_study import result_of


def nothing() -> None:
    """The overhead of an executor is what this takes."""


def sleep(architecture: str, seconds: float) -> JobResult:
    """A training that needs no processor."""
    time.sleep(seconds)
    return result_of(architecture)
