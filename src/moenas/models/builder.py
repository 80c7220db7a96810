"""Building a model from a base model's name and its expert counts."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
from torch import nn

from moenas.errors import ModelError
from moenas.models.architecture import Architecture
from moenas.models.convert import upcycle
from moenas.models.heads import Head
from moenas.models.pretrained import load_pretrained
from moenas.models.quantum_head import set_head
from moenas.models.switch_ffn import GATES, Gate
from moenas.models.zoo import get_model


def build_model(
    base: str,
    experts: Sequence[int] | None = None,
    *,
    num_classes: int = 2,
    pretrained: bool | str | Path = False,
    gate: Gate = "exact",
    seed: int | None = None,
    head: Head | str | None = None,
) -> nn.Module:
    """Build a base model, with experts where asked for.

    The model maps a float batch ``[B, 3, H, W]`` (any layout; channels_last is fastest) to logits
    ``[B, num_classes]``. It has the attributes ``architecture``, ``gate`` and ``num_classes``. The
    dense model's state dict has timm's names and shapes for that base: they load into each other.
    A fresh model with experts computes what its dense model computes (gate ``"exact"``).

    Args:
        base: Name of a base model, e.g. ``"mobilevitv2_050"`` (any width from 025 to 400) or timm's
            name of a model of another family, e.g. ``"convnext_atto"``.
        experts: Experts of each layer, 1 to 8; None for the dense model.
        num_classes: Classes of the head.
        pretrained: True loads timm's published weights, a path a local file with timm's names; the
            head is kept where its shape fits and else random.
        gate: See `SwitchFFN`.
        seed: Makes initialisation repeatable and leaves torch's global generator untouched; None
            draws from it.
        head: In place of the linear classifier: an id such as ``"quantum8x2"`` (see `Head`).

    Raises:
        ModelError: Unknown base model, invalid expert counts, gate or head, weights not reachable.
        CheckpointError: The local weights cannot be used.
    """
    description = get_model(base)
    architecture = Architecture.dense_base(base)
    if experts is not None:
        architecture = architecture.with_experts(experts)
    architecture = architecture.with_head(Head.parse(head) if isinstance(head, str) else head)
    if num_classes < 1:
        raise ModelError(f"A model needs at least one class, not {num_classes}.")
    if gate not in GATES:
        raise ModelError(f"Unknown gate '{gate}': use 'exact' or 'probability'.")
    with _seeded(seed):
        dense = description.create(num_classes)
        if pretrained:
            load_pretrained(dense, description, pretrained)
        dense.architecture = Architecture.dense_base(base)  # type: ignore[assignment]
        dense.gate = gate  # type: ignore[assignment]
        if architecture.head is not None:
            set_head(dense, architecture.head)
        if architecture.dense:
            return dense
        router_seed = int(torch.randint(2**31, ()))
    return upcycle(dense, architecture.experts, gate=gate, seed=router_seed)


@contextlib.contextmanager
def _seeded(seed: int | None) -> Iterator[None]:
    """Seed torch's CPU generator for a while; None leaves it alone."""
    if seed is None:
        yield
        return
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        yield
