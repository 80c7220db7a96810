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
    model = get_model(base)
    extra = 0
    if experts is not None:
        for layer, count in zip(
            model.layers, Architecture(base, tuple(experts)).experts, strict=True
        ):
            router = count * layer.dim if count > 1 else 0
            extra += (count - 1) * layer.expert_parameters + router
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
    model = get_model(base)
    routers = 0
    if experts is not None:
        counts = Architecture(base, tuple(experts)).experts
        for layer, count, tokens in zip(
            model.layers, counts, model.tokens(image_size), strict=True
        ):
            routers += tokens * count * layer.dim if count > 1 else 0
    return model.dense_macs(image_size, num_classes) + routers
