"""One step of training: from a batch to gradients. The loop does the rest."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Protocol

import torch
from torch import nn

from moenas.models.routing import Routing
from moenas.training.losses import training_loss
from moenas.training.schemes import Scheme

Backward = Callable[[torch.Tensor], None]
Routings = Mapping[str, Routing]


class Step(Protocol):
    """Computes a batch's loss and adds its gradients to the parameters'."""

    def __call__(
        self,
        model: nn.Module,
        images_BCHW: torch.Tensor,
        labels_B: torch.Tensor,
        routings: Routings,
        scheme: Scheme,
        number: int,
        backward: Backward,
    ) -> tuple[torch.Tensor, Routings]:
        """Do it.

        Args:
            model: In training mode.
            images_BCHW: Normalised.
            labels_B: Class indices.
            routings: What the routers did in the model's last forward pass, by layer.
            scheme: The recipe.
            number: Of the step, from 0: what it draws at random depends on nothing else.
            backward: Adds a loss's gradients.

        Returns:
            The loss (scalar) and the routing to log.
        """


def plain_step(
    model: nn.Module,
    images_BCHW: torch.Tensor,
    labels_B: torch.Tensor,
    routings: Routings,
    scheme: Scheme,
    number: int,
    backward: Backward,
) -> tuple[torch.Tensor, Routings]:
    """One forward and one backward pass of the whole model; see `Step`."""
    loss = training_loss(model(images_BCHW), labels_B, routings.values(), scheme)
    backward(loss)
    return loss.detach(), routings
