"""Dropout for any model: few are built with it, and a scheme may ask.

Both kinds are there while a context is open, so that models are built, stored and judged without.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any

import torch.nn.functional as F
from timm.layers import DropPath
from torch import Tensor, nn

from moenas.models.quantum_head import NarrowHead


@contextlib.contextmanager
def classifier_dropout(model: nn.Module, share: float) -> Iterator[None]:
    """Drop inputs of the model's classifier while the context is open and it trains.

    Args:
        model: A classifier; of one with two heads (distilled models) each has its own dropout.
        share: Of the inputs that are set to zero, 0–1; the others are scaled up.
    """

    def drop(layer: nn.Module, inputs: tuple[Tensor]) -> tuple[Tensor]:
        return (F.dropout(inputs[0], share, layer.training),)

    with contextlib.ExitStack() as stack:
        for head in classifiers(model) if share else ():
            stack.callback(head.register_forward_pre_hook(drop).remove)
        yield


def classifiers(model: Any) -> Sequence[nn.Module]:
    """Return the layers that compute a model's logits: one, or one for each of its heads.

    timm's models name theirs; of others it is the last linear layer.
    """
    if narrow := [module for module in model.modules() if isinstance(module, NarrowHead)]:
        return narrow
    if not hasattr(model, "get_classifier"):
        return [m for m in model.modules() if isinstance(m, nn.Linear)][-1:]
    named = model.get_classifier()
    parts = named if isinstance(named, tuple | list) else [named]
    layers = [m for p in parts for m in p.modules() if isinstance(m, nn.Linear | nn.Conv2d)]
    return [layer for layer in layers if layer.weight.shape[0] == layers[-1].weight.shape[0]]


@contextlib.contextmanager
def stochastic_depth(model: nn.Module, share: float) -> Iterator[None]:
    """Let images skip residual blocks while the context is open and the model trains.

    EfficientNet's rule: of n blocks, block i (from 0) is skipped by ``share * i / n`` of the images
    (Huang et al., 2016). timm's blocks have a place for it, ``drop_path``; models without are left
    as they are.

    Args:
        model: Any model.
        share: Of the images, towards the last block, 0–1.
    """
    blocks = [(block, names) for block in model.modules() if (names := _places(block))]
    blocks = blocks if share else []
    before = [(block, name, getattr(block, name)) for block, names in blocks for name in names]
    for number, (block, names) in enumerate(blocks):
        for name in names:
            rate = share * number / len(blocks)
            setattr(block, name, DropPath(rate).train(block.training) if rate else nn.Identity())
    try:
        yield
    finally:
        for block, name, module in before:
            if module is None:  # no module: it must not be listed among them
                delattr(block, name)
            setattr(block, name, module)


def _places(block: nn.Module) -> list[str]:
    """Names of a block's parts that skip it; without a rate timm has an identity there, or None."""
    found = [
        name
        for name, child in block.named_children()
        if name.startswith("drop_path") and isinstance(child, DropPath | nn.Identity)
    ]
    return found or ["drop_path"] * (getattr(block, "drop_path", block) is None)
