"""Functions that workers run; they must be importable there."""

from __future__ import annotations

import dataclasses
import os
import signal
import time
from pathlib import Path

import psutil
import torch

from moenas.errors import MissingDependencyError


def add(a: int, b: int) -> int:
    return a + b


def fail(message: str) -> None:
    raise ValueError(message)


def threads() -> int:
    return torch.get_num_threads()


def pid(seconds: float = 0.0) -> int:
    time.sleep(seconds)
    return os.getpid()


def once_then_die(note: str, times: int) -> int:
    """Write a line for each call; die like out of memory in the first ``times`` calls."""
    path = Path(note)
    with path.open("a") as file:
        file.write(f"{os.getpid()}\n")
    calls = len(path.read_text().splitlines())
    if calls <= times:
        os.kill(os.getpid(), signal.SIGKILL)
    return calls


def wait_for(path: str, note: str) -> str:
    """Write a line, then wait until a file is there."""
    with Path(note).open("a") as file:
        file.write(f"{os.getpid()}\n")
    deadline = time.monotonic() + 60
    while not Path(path).exists():
        if time.monotonic() > deadline:
            raise TimeoutError(path)
        time.sleep(0.02)
    return "waited"


def allocate_and_free(megabytes: int) -> None:
    kept = [bytearray(100_000) for _ in range(10 * megabytes)]
    kept.clear()


def memory() -> int:
    return int(psutil.Process().memory_info().rss)


@dataclasses.dataclass(frozen=True)
class Job:
    """With a deadline on the clock of the machine that it was made on."""

    deadline: float | None
    folder: str | None = None


def seconds_left(job: Job) -> float | None:
    return None if job.deadline is None else job.deadline - time.monotonic()


class AwkwardError(Exception):
    """Takes other arguments than it keeps, as many libraries' errors do."""

    def __init__(self, package: str, purpose: str) -> None:
        super().__init__(f"{purpose} needs {package}")


def fail_as(name: str, note: str) -> None:
    """Write a line, then raise an error of a kind."""
    with Path(note).open("a") as file:
        file.write(f"{os.getpid()}\n")
    if name == "awkward":
        raise AwkwardError("pennylane", "The quantum head")
    if name == "missing":
        raise MissingDependencyError("pennylane", "quantum", "The quantum head")
    raise RuntimeError(name)
