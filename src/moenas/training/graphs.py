"""Training steps as CUDA graphs: hundreds of small kernels, launched as one.

A small model leaves a GPU waiting: the host takes longer to launch its kernels than they take to
run. A step that never waits for the GPU can be recorded once and replayed with other images.
"""

from __future__ import annotations

import dataclasses
import os
import warnings
from collections import Counter

import torch
from torch import nn

from moenas.console import logger
from moenas.errors import MoENASError
from moenas.models.routing import Routing
from moenas.training.distillation import DistillationStep
from moenas.training.step import Backward, Batch, Routings, Step, plain_step

SWITCH = "MOENAS_CUDA_GRAPHS"

WARM_UP = 3
"""Steps of each size that are computed as usual first: libraries choose and set up kernels."""


@dataclasses.dataclass(frozen=True)
class Recorded:
    """A step of one size, to be run again; its tensors stay where they are.

    Attributes:
        graph: The kernels.
        images: Where the step reads the images,
        labels: and the labels.
        loss: Where it leaves the loss,
        routings: the routing,
        grads: and each parameter's gradient, None where it has none.
    """

    graph: torch.cuda.CUDAGraph
    images: torch.Tensor
    labels: torch.Tensor
    loss: torch.Tensor
    routings: dict[str, Routing]
    grads: list[torch.Tensor | None]


def graphed(step: Step) -> Step:
    """Return the step, recorded where its kernels are always the same; CUDA only.

    ``MOENAS_CUDA_GRAPHS=0`` in the environment leaves all steps as they are.
    """
    fixed = step is plain_step or isinstance(step, DistillationStep)
    return GraphedStep(step) if fixed and os.environ.get(SWITCH) != "0" else step


class GraphedStep:
    """A `Step` that does what another does, recorded for each size of images.

    The other must compute the same kernels each time, whatever the images: no choice by the host.
    Where it waits for the GPU, which cannot be recorded, it is computed as usual for ever.
    Gradients must be None before a step: they are set, not added to.

    Args:
        step: The other.
    """

    def __init__(self, step: Step) -> None:
        self._step = step
        self._stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        self._pool = torch.cuda.graph_pool_handle()
        self._seen: Counter[torch.Size] = Counter()
        self._recorded: dict[torch.Size, Recorded] = {}
        self._waits = False

    def __call__(
        self, model: nn.Module, batch: Batch, backward: Backward
    ) -> tuple[torch.Tensor, Routings]:
        """Do it; the model is in training mode."""
        size = batch.images.shape
        if size not in self._recorded:
            if self._waits or self._seen[size] < WARM_UP:
                self._seen[size] += 1
                return self._as_usual(model, batch, backward)
            self._recorded[size] = self._record(model, batch, backward)
        recorded = self._recorded[size]
        recorded.images.copy_(batch.images)
        recorded.labels.copy_(batch.labels)
        recorded.graph.replay()
        for parameter, grad in zip(model.parameters(), recorded.grads, strict=True):
            parameter.grad = grad
        return recorded.loss.clone(), recorded.routings

    def _as_usual(
        self, model: nn.Module, batch: Batch, backward: Backward
    ) -> tuple[torch.Tensor, Routings]:
        """Compute it on the stream that records."""
        step = self._step if self._waits else self._watched
        main = torch.cuda.current_stream()
        self._stream.wait_stream(main)
        with torch.cuda.stream(self._stream):
            result = step(model, batch, backward)
        main.wait_stream(self._stream)
        return result

    def _watched(
        self, model: nn.Module, batch: Batch, backward: Backward
    ) -> tuple[torch.Tensor, Routings]:
        """Compute it, and find out whether it waits for the GPU."""
        mode = torch.cuda.get_sync_debug_mode()
        with warnings.catch_warnings(record=True) as seen:
            warnings.simplefilter("always")
            torch.cuda.set_sync_debug_mode("warn")
            try:
                result = self._step(model, batch, backward)
            finally:
                torch.cuda.set_sync_debug_mode(mode)
        waits = [w for w in seen if "synchroniz" in str(w.message)]
        for other in (w for w in seen if w not in waits):
            warnings.warn_explicit(other.message, other.category, other.filename, other.lineno)
        # The first step of a size may wait while libraries set up.
        if waits and self._seen[batch.images.shape] > 1:
            self._waits = True
            logger.info("Steps are not recorded as CUDA graphs: %s", waits[0].message)
        return result

    def _record(self, model: nn.Module, batch: Batch, backward: Backward) -> Recorded:
        """Record it, without computing anything."""
        images, labels = batch.images.clone(), batch.labels.clone()
        graph = torch.cuda.CUDAGraph()
        own = dataclasses.replace(batch, images=images, labels=labels)
        # Other threads, which bring images, may go on with what they do.
        mode = "thread_local"
        try:
            with torch.cuda.graph(graph, self._pool, self._stream, capture_error_mode=mode):
                loss, routings = self._step(model, own, backward)
        except RuntimeError as error:  # what the device has begun cannot be taken back
            raise MoENASError(
                f"A training step could not be recorded as a CUDA graph: {error} Where memory ran "
                f"out, make batches smaller; else set {SWITCH}=0, which trains without."
            ) from error
        grads = [parameter.grad for parameter in model.parameters()]
        return Recorded(graph, images, labels, loss, dict(routings), grads)
