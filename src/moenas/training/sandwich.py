"""Training a supernet, so that each of its sub-networks is a model that works.

Every step trains the whole network, the smallest part of it and some random ones (the sandwich
rule); the parts learn what the whole network says of the same images (in-place distillation).
Source: Universally Slimmable Networks (Yu and Huang, 2019), Sections 3.1 and 3.2; BigNAS (Yu et
al., 2020), Section 3.1.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import torch
from torch import nn

from moenas.models.convert import architecture_of
from moenas.models.subnet import active_subnet
from moenas.runtime import generator
from moenas.training.losses import imitation_loss, router_loss, training_loss
from moenas.training.step import Backward, Batch, Routings

RANDOM_PARTS = 2  # Universally Slimmable Networks' number


@dataclasses.dataclass(frozen=True)
class SandwichStep:
    """A `Step` for supernets; the loss it returns is the whole network's.

    Attributes:
        supernet: The model itself, not wrapped: its routers are masked.
        seed: Of the random parts.
    """

    supernet: nn.Module
    seed: int

    def __call__(
        self, model: nn.Module, batch: Batch, backward: Backward
    ) -> tuple[torch.Tensor, Routings]:
        """Add the mean gradient over the whole network and its parts; see `Step`."""
        parts = self.parts(batch.number)
        logits_BC = model(batch.images)
        loss = training_loss(logits_BC, batch.labels, batch.routings.values(), batch.scheme)
        whole = dict(batch.routings)
        backward(loss / (1 + len(parts)))
        for experts in parts:
            with active_subnet(self.supernet, experts):
                part_loss = imitation_loss(model(batch.images), logits_BC)
                part_loss = part_loss + router_loss(batch.routings.values(), batch.scheme)
                backward(part_loss / (1 + len(parts)))
        return loss.detach(), whole

    def parts(self, number: int) -> list[tuple[int, ...]]:
        """The expert counts trained in step ``number`` beside the whole network's."""
        most = architecture_of(self.supernet).experts
        rng = generator(self.seed, "parts", number)
        draws = rng.integers(1, np.array(most) + 1, size=(RANDOM_PARTS, len(most)))
        return [(1,) * len(most), *(tuple(draw) for draw in draws.tolist())]
