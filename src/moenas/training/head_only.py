"""Training of the head alone: the rest of the model is kept as it is, statistics included."""

from __future__ import annotations

import torch
from torch import nn

from moenas.errors import ModelError
from moenas.models.classifier import NO_CLASSIFIER, find_classifier
from moenas.models.convert import architecture_of
from moenas.training.losses import training_loss
from moenas.training.step import Backward, Batch, Routings


class HeadStep:
    """A `Step` that leaves everything but the head alone.

    The body computes as in evaluation, so that batch norms keep their statistics, and no gradient
    goes into it: a step costs a third of a whole one.
    """

    def __init__(self, model: nn.Module) -> None:
        """Freeze the body.

        Args:
            model: A model of ours; its parameters but the head's need no gradient afterwards.

        Raises:
            ModelError: It has no single classifier.
        """
        found = find_classifier(model)
        if found is None:
            raise ModelError(NO_CLASSIFIER.format(name=architecture_of(model).base))
        self.head = found[1]
        model.requires_grad_(False)
        self.head.requires_grad_(True)

    def __call__(
        self, model: nn.Module, batch: Batch, backward: Backward
    ) -> tuple[torch.Tensor, Routings]:
        """One forward pass of the model, a backward pass through its head; see `Step`."""
        model.eval()
        self.head.train()
        loss = training_loss(model(batch.images), batch.labels, [], batch.scheme)
        backward(loss)
        return loss.detach(), batch.routings
