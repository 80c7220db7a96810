"""Several processes that train one model: how they find and what they tell each other.

`accelerate launch` and torchrun start them, each with a part of every batch; the first one, the
main process, alone writes files and says when to stop. In one process nothing here does anything.
"""

from __future__ import annotations

import datetime
import warnings
from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
import torch
import torch.distributed as dist
from accelerate import PartialState
from torch import nn

from moenas.errors import ConfigError, MoENASError

T = TypeVar("T")

WAIT = datetime.timedelta(hours=3)
"""Longest that a process waits for another; the main one may have many images to decode first."""


def join(device: torch.device) -> None:
    """Meet the other processes that the launcher has started, if it has."""
    # 1x1 convolutions in channels_last memory: either order of their strides is right.
    warnings.filterwarnings("ignore", "Grad strides do not match bucket view strides")
    PartialState(cpu=device.type == "cpu", timeout=WAIT)


def part_company() -> None:
    """End what `join` began; torch complains where nobody does."""
    if dist.is_available() and dist.is_initialized():
        dist.destroy_process_group()


def count() -> int:
    """Number of processes that train together."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def index() -> int:
    """Which of them this one is; 0 is the main process."""
    return dist.get_rank() if count() > 1 else 0


def check_parts(batch_size: int, accumulate: int) -> None:
    """Refuse a batch that cannot be shared out.

    Args:
        batch_size: Images of an optimiser step, over all processes.
        accumulate: Parts that each process computes one after the other.

    Raises:
        ConfigError: The processes and parts don't divide it.
    """
    if accumulate < 1:
        raise ConfigError(f"accumulate must be at least 1, not {accumulate}.")
    if batch_size % (count() * accumulate):
        raise ConfigError(
            f"A batch of {batch_size} images cannot be shared out among {count()} processes with "
            f"{accumulate} parts each: choose a batch_size that {count() * accumulate} divides."
        )


def by_main(work: Callable[[], T]) -> T | None:
    """Let the main process do something while the others wait.

    Returns:
        What it returned; None in the other processes.

    Raises:
        SystemExit: In the others, where it failed: the main process says why.
    """
    if count() == 1:
        return work()
    done = False
    result = None
    try:
        if index() == 0:
            result = work()
            done = True
    finally:
        done = main_says(done)
    if not done:
        raise SystemExit(1)
    return result


def main_says(what: bool) -> bool:
    """Return the main process' answer to a question, so that all act alike."""
    if count() == 1:
        return what
    answer = torch.tensor(int(what), device=PartialState().device)
    dist.broadcast(answer, 0)
    return bool(answer.item())


def main_says_at(step: int, what: bool) -> bool:
    """Like `main_says`, but always no at three steps of four: waiting for an answer costs time."""
    return what if count() == 1 else step % 4 == 0 and main_says(what)


def total(tensors: list[torch.Tensor]) -> list[torch.Tensor]:
    """Return one-dimensional tensors' sums over the processes, without gradients."""
    if count() == 1 or not tensors:
        return tensors
    flat = torch.cat(tensors)
    dist.all_reduce(flat)
    return list(torch.split(flat, [len(each) for each in tensors]))


def mean(value: torch.Tensor) -> torch.Tensor:
    """Return a tensor's mean over the processes, without gradients."""
    if count() == 1:
        return value
    value = value.detach().clone()
    dist.all_reduce(value)
    return value / count()


def shared_out(
    work: Callable[[npt.NDArray[np.integer]], npt.NDArray[np.float64]],
    rows: npt.NDArray[np.integer],
) -> npt.NDArray[np.float64]:
    """Have each process do a part of the rows and return all results, [len(rows)], to each."""
    if count() == 1:
        return work(rows)
    parts: list[npt.NDArray[np.float64]] = [np.empty(0)] * count()
    dist.all_gather_object(parts, work(rows[index() :: count()]))
    result = np.empty(len(rows))
    for number, part in enumerate(parts):
        result[number :: count()] = part
    return result


def share_buffers(model: nn.Module) -> None:
    """Give all processes the main one's buffers: batch norms' statistics."""
    if count() > 1:
        for buffer in model.buffers():
            dist.broadcast(buffer, 0)


def check_agreement(epochs: int, steps: int) -> None:
    """Refuse to go on where processes found different states.

    Raises:
        MoENASError: Not all have done so many epochs, and steps of the next.
    """
    if count() == 1:
        return
    found: list[Any] = [None] * count()
    dist.all_gather_object(found, (epochs, steps))
    if len(set(found)) > 1:
        states = ", ".join(f"{e} epochs and {s} steps" for e, s in sorted(set(found)))
        raise MoENASError(
            f"The processes found trainings to go on from that differ ({states}): the run folder "
            "must lie on a disk that all of them share."
        )
