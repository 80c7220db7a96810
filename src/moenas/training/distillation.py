"""Learning from a trained model instead of the labels.

Teacher and student see the same image, cut and coloured alike, and the student learns the teacher's
probabilities alone. Source: Knowledge distillation: a good teacher is patient and consistent (Beyer
et al., 2022), Section 3, "function matching".
"""

from __future__ import annotations

import dataclasses

import torch
from torch import nn

from moenas.training.losses import imitation_loss, router_loss
from moenas.training.step import Backward, Batch, Routings


@dataclasses.dataclass(frozen=True)
class DistillationStep:
    """A `Step` whose loss is the distance from a teacher, plus the routers' own.

    Attributes:
        teacher: In evaluation mode, on the device of the model; it is not changed.
    """

    teacher: nn.Module

    def __call__(
        self, model: nn.Module, batch: Batch, backward: Backward
    ) -> tuple[torch.Tensor, Routings]:
        """One pass of the teacher, one forward and one backward pass of the model; see `Step`."""
        with torch.no_grad():
            taught_BC = self.teacher(batch.images)
        loss = imitation_loss(model(batch.images), taught_BC)
        loss = loss + router_loss(batch.routings.values(), batch.scheme)
        backward(loss)
        return loss.detach(), batch.routings
