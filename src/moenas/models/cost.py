"""Exact size and work of an architecture, without building it."""

from __future__ import annotations

from collections.abc import Sequence

from moenas.models.architecture import Architecture
from moenas.models.bases import get_base
from moenas.models.zoo import get_model


def layer_count(base: str) -> int:
    """Number of FFNs of a base model that can have experts.

    Raises:
        ModelError: Unknown base model.
    """
    return len(get_base(base).layers)


def count_parameters(base: str, experts: Sequence[int] | None = None, num_classes: int = 2) -> int:
    """Count the parameters of an architecture, exactly.

    Args:
        base: Name of the base model.
        experts: Experts of each layer, None for the dense base model.
        num_classes: Classes of the head.

    Raises:
        ModelError: Unknown base model or invalid expert counts.
    """
    return parameters_of(_architecture(base, experts), num_classes)


def parameters_of(architecture: Architecture, num_classes: int = 2) -> int:
    """Count the parameters of an architecture with its head, exactly.

    Args:
        architecture: Which.
        num_classes: Classes of the head.
    """
    model = get_model(architecture.base)
    extra = 0
    for layer, count in zip(model.layers, architecture.experts, strict=True):
        router = count * layer.dim if count > 1 else 0
        extra += (count - 1) * layer.expert_parameters + router
    head, width = architecture.head, model.pooled_width
    if head is not None and width is not None:
        extra += head.parameters(width, num_classes) - (width + 1) * num_classes
    return model.dense_parameters(num_classes) + extra


def count_macs(
    base: str, experts: Sequence[int] | None = None, image_size: int = 96, num_classes: int = 2
) -> int:
    """Count multiply-accumulates of one image: convolutions and matrix products, as computed here.

    A token visits one expert, so experts add nothing; the router of a Switch FFN does.

    Args:
        base: Name of the base model.
        experts: Experts of each layer, None for the dense base model.
        image_size: Side of the square image in pixels.
        num_classes: Classes of the head.

    Raises:
        ModelError: Unknown base model or invalid expert counts.
    """
    return macs_of(_architecture(base, experts), image_size, num_classes)


def macs_of(architecture: Architecture, image_size: int = 96, num_classes: int = 2) -> int:
    """Count multiply-accumulates of one image for an architecture with its head; see `count_macs`.

    Args:
        architecture: Which.
        image_size: Side of the square image in pixels.
        num_classes: Classes of the head.
    """
    model = get_model(architecture.base)
    extra = 0
    if not architecture.dense:
        tokens_of_layers = model.tokens(image_size)
        for layer, count, tokens in zip(
            model.layers, architecture.experts, tokens_of_layers, strict=True
        ):
            extra += tokens * count * layer.dim if count > 1 else 0
    head, width = architecture.head, model.pooled_width
    if head is not None and width is not None:
        extra += head.macs(width, num_classes) - width * num_classes
    return model.dense_macs(image_size, num_classes) + extra


def _architecture(base: str, experts: Sequence[int] | None) -> Architecture:
    dense = Architecture.dense_base(base)
    return dense if experts is None else dense.with_experts(experts)
