"""One step of training: from a batch to gradients. The loop does the rest."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from contextlib import nullcontext
from typing import Protocol

import torch
from accelerate import Accelerator
from torch import nn

from moenas.models.routing import Routing
from moenas.training.losses import training_loss
from moenas.training.schemes import Scheme

Backward = Callable[[torch.Tensor], None]
"""Adds a loss's gradients to the parameters'."""

Routings = Mapping[str, Routing]


@dataclasses.dataclass(frozen=True)
class Batch:
    """What a step learns from.

    Attributes:
        images: ``[B, 3, H, W]``, normalised.
        labels: ``[B]`` class indices.
        routings: What the routers did in the model's last forward pass, by layer.
        scheme: The recipe.
        number: Of the step, from 0: what it draws at random depends on nothing else.
    """

    images: torch.Tensor
    labels: torch.Tensor
    routings: Routings
    scheme: Scheme
    number: int


class Step(Protocol):
    """Computes a batch's loss and adds its gradients to the parameters'."""

    def __call__(
        self, model: nn.Module, batch: Batch, backward: Backward
    ) -> tuple[torch.Tensor, Routings]:
        """Do it; the model is in training mode.

        Returns:
            The loss (scalar) and the routing to log.
        """


def plain_step(model: nn.Module, batch: Batch, backward: Backward) -> tuple[torch.Tensor, Routings]:
    """One forward and one backward pass of the whole model; see `Step`."""
    logits_BC = model(batch.images)
    loss = training_loss(logits_BC, batch.labels, batch.routings.values(), batch.scheme)
    backward(loss)
    return loss.detach(), batch.routings


def in_parts(
    step: Step, model: nn.Module, batch: Batch, accelerator: Accelerator, parts: int
) -> Iterator[tuple[torch.Tensor, Routings]]:
    """Take a step in parts, of which one at a time is in memory: gradients are their mean.

    Args:
        step: What computes a part.
        model: As it is prepared by ``accelerator``.
        batch: The whole one; ``parts`` divides it.
        accelerator: Adds up the gradients; other processes' come with the last part.
        parts: How many.

    Yields:
        Each part's loss and routing, to look at before the next.
    """

    def backward(loss: torch.Tensor) -> None:
        accelerator.backward(loss / parts)

    pieces = zip(batch.images.chunk(parts), batch.labels.chunk(parts), strict=True)
    for number, (images, labels) in enumerate(pieces, start=1):
        part = dataclasses.replace(batch, images=images, labels=labels)
        with nullcontext() if number == parts else accelerator.no_sync(model):
            result = step(model, part, backward)
        yield result
