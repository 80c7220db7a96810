"""How far a training is, kept in its state and taken from there: it goes on where it was.

The state is written after each epoch and, in long ones, between steps: what a kill costs is
half a minute or so, never an epoch.
"""

from __future__ import annotations

import dataclasses
import math
import time
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from accelerate import Accelerator
from torch import nn

from moenas.errors import CheckpointError
from moenas.runs import ModelFolder
from moenas.training.checkpoint import Tensors, TrainingState, save_state
from moenas.training.epoch_log import EpochLog
from moenas.training.history import EpochRecord
from moenas.training.identity import Identity
from moenas.training.optimizer import lay_out_as_parameters
from moenas.training.reuse import take_state

SECONDS = 30.0
"""Of training between two states, at least."""

COST = 0.01
"""Largest share of the time that goes into writing states within epochs."""


@dataclasses.dataclass(frozen=True)
class Best:
    """The best epoch so far: balanced accuracy on validation, weights, probabilities there."""

    accuracy: float = -math.inf
    weights: Tensors = dataclasses.field(default_factory=dict)
    probability: npt.NDArray[np.float64] = dataclasses.field(default_factory=lambda: np.empty(0))


@dataclasses.dataclass
class Progress:
    """How far a training is.

    Attributes:
        history: Its finished epochs.
        best: The best of them.
        steps: Of the epoch under way that are done,
        seconds: that they took,
        log: and what happened in them.
    """

    history: list[EpochRecord] = dataclasses.field(default_factory=list)
    best: Best = dataclasses.field(default_factory=Best)
    steps: int = 0
    seconds: float = 0.0
    log: EpochLog = dataclasses.field(default_factory=EpochLog)

    def end_epoch(self, record: EpochRecord) -> None:
        """Take in a finished epoch; the next one begins."""
        self.history.append(record)
        self.steps, self.seconds, self.log = 0, 0.0, EpochLog()


@dataclasses.dataclass
class Resumable:
    """A training whose state is kept: all that it is made of.

    Attributes:
        folder: Where the state is.
        identity: What is trained.
        model: Not wrapped.
        judged: The model, or its moving average.
        optimizer: As it is prepared by the accelerator.
        accelerator: Has the device, and the scale of the loss under fp16.
    """

    folder: ModelFolder
    identity: Identity
    model: nn.Module
    judged: nn.Module
    optimizer: torch.optim.Optimizer
    accelerator: Accelerator

    def __post_init__(self) -> None:
        self._next = time.monotonic() + SECONDS

    def due(self) -> bool:
        """Whether it is time to keep the state although the epoch is not over."""
        return time.monotonic() >= self._next

    def resume(self) -> Progress:
        """Put weights and optimiser back to where the state in the folder is, if there is one.

        Raises:
            RunFolderError: The state is another's and cannot be removed, or cannot be read now.
            CheckpointError: It is whole, but not what `keep` writes.
        """
        state = take_state(self.folder, self.identity, self.model.state_dict())
        if state is None:
            return Progress()
        try:
            return self._take(state)
        except (AttributeError, KeyError, RuntimeError, TypeError, ValueError) as error:
            raise CheckpointError(
                f"The training state '{self.folder.state}' is not of this training ({error!r}). "
                "Delete it: the same command then trains anew."
            ) from error

    def _take(self, state: TrainingState) -> Progress:
        self.model.load_state_dict(state.modules["model"])
        if self.judged is not self.model:
            self.judged.load_state_dict(state.modules["ema"])
        self.optimizer.load_state_dict(state.optimizer)
        lay_out_as_parameters(self.optimizer)
        found = state.progress
        if self.accelerator.scaler is not None and "scaler" in found:
            self.accelerator.scaler.load_state_dict(found["scaler"])
        history = [EpochRecord(**record) for record in found["history"]]
        best = Best()
        if history:
            seen = state.modules["validation"]["probability"].numpy()
            best = Best(found["best"], state.modules["best"], seen)
        device = self.accelerator.device
        log = {name: value.to(device) for name, value in state.modules.get("log", {}).items()}
        steps, seconds = int(found.get("steps", 0)), float(found.get("seconds", 0.0))
        return Progress(history, best, steps, seconds, EpochLog(log))

    def keep(self, progress: Progress) -> None:
        """Write the state; every process must call it, and the main one writes.

        Raises:
            RunFolderError: The disk is full or the folder not writable.
        """
        start = time.monotonic()
        log = progress.log.tensors() if progress.steps else {}
        if self.accelerator.is_main_process:
            save_state(self.folder.state, self._state(progress, log))
        now = time.monotonic()
        self._next = now + max(SECONDS, (now - start) / COST)

    def _state(self, progress: Progress, log: Tensors) -> TrainingState:
        modules: dict[str, Tensors] = {"model": self.model.state_dict(), "log": log}
        found: dict[str, Any] = {
            "of": dataclasses.asdict(self.identity),
            "history": [dataclasses.asdict(record) for record in progress.history],
            "steps": progress.steps,
            "seconds": progress.seconds,
        }
        if progress.history:
            best = progress.best
            modules["best"], found["best"] = best.weights, best.accuracy
            modules["validation"] = {"probability": torch.from_numpy(best.probability)}
        if self.judged is not self.model:
            modules["ema"] = self.judged.state_dict()
        if self.accelerator.scaler is not None:
            found["scaler"] = self.accelerator.scaler.state_dict()
        return TrainingState(modules, self.optimizer.state_dict(), found)
