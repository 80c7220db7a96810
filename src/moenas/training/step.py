"""One step of training: from a batch to gradients. The loop does the rest."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Protocol

import torch
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
