"""The experts of a layer as the kernel reads them, kept as long as their weights stay as they are.

Packing costs as much as a few tokens' work for each expert, so inference does it once. A packed
layer belongs to the tensor object of its first weight and is valid for the memory and the version
of all four: replacing, loading, moving or changing weights in place makes a new one. The kernel
itself compares a few numbers of every expert with their packed copies on each call, which finds
most writes that torch does not count (through ``.data`` or NumPy); who changes less than a whole
matrix that way must call `forget`. Fused optimisers don't count theirs either, so every optimiser's
step drops what is kept.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, MutableMapping

import torch
from torch import Tensor
from torch.optim.optimizer import register_optimizer_step_post_hook
from torch.utils.weak import WeakIdKeyDictionary

from moenas.models.activation import Activation
from moenas.models.kernels.abi import Experts
from moenas.models.sorted_experts import Weights


@dataclasses.dataclass(frozen=True, eq=False)
class Layer:
    """Packed experts.

    Attributes:
        experts: Number of experts E.
        dim: Width of a token D.
        hidden: Width of the hidden layer H.
        structure: What C is given.
        memory: The tensors that it points to. The given weights are among them, so that their
            addresses are not given to others.
        activation: The hidden layer's.
        key: Versions, addresses and shapes of the given weights; None where these cannot tell.
    """

    experts: int
    dim: int
    hidden: int
    structure: Experts
    memory: tuple[Tensor, ...]
    activation: Activation
    key: tuple[object, ...] | None


Pack = Callable[[Weights, Activation], Layer]

_layers: MutableMapping[Tensor, Layer] = WeakIdKeyDictionary()


def key_of(weights: Weights) -> tuple[object, ...] | None:
    """Return what changes when weights do; None where that cannot be told."""
    w1, b1, w2, b2 = weights
    try:
        versions = (w1._version, b1._version, w2._version, b2._version)
    except RuntimeError:
        return None
    if not (w1.is_contiguous() and w2.is_contiguous()):
        return None  # the kernel would compare with a copy, which no write reaches
    if b1.dtype != torch.float32 or b2.dtype != torch.float32:
        return None  # likewise
    layouts = tuple((w.data_ptr(), w.shape, w.dtype) for w in weights)
    return *versions, *layouts


def cached_layer(pack: Pack, weights: Weights, activation: Activation) -> Layer:
    """Return ``pack(weights, activation)``, from the cache where it is still valid."""
    key = key_of(weights)
    if key is None:
        return pack(weights, activation)
    layer = _layers.get(weights[0])
    if layer is None or layer.key != key or layer.activation != activation:
        layer = pack(weights, activation)
        _layers[weights[0]] = layer
    return layer


def forget(weight: Tensor | None = None) -> None:
    """Drop the packed layer with this first weight, or all."""
    if weight is None:
        _layers.clear()
    else:
        _layers.pop(weight, None)


def is_kept(weight: Tensor) -> bool:
    """Whether a packed layer with this first weight is kept (it may be out of date)."""
    return weight in _layers


register_optimizer_step_post_hook(lambda *_: forget())
