"""Dropout before the classifier, for any model: few are built with it, and a scheme may ask."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch.nn.functional as F
from torch import Tensor, nn

from moenas.models.quantum_head import NarrowHead


@contextlib.contextmanager
def classifier_dropout(model: nn.Module, share: float) -> Iterator[None]:
    """Drop inputs of the model's head or last linear layer while the context is open and it trains.

    Args:
        model: A classifier.
        share: Of the inputs that are set to zero, 0–1; the others are scaled up.
    """
    heads = [module for module in model.modules() if isinstance(module, NarrowHead)]
    linear = [module for module in model.modules() if isinstance(module, nn.Linear)]
    last = heads or linear[-1:]
    if not share or not last:
        yield
        return

    def drop(layer: nn.Module, inputs: tuple[Tensor]) -> tuple[Tensor]:
        return (F.dropout(inputs[0], share, layer.training),)

    handle = last[0].register_forward_pre_hook(drop)
    try:
        yield
    finally:
        handle.remove()
