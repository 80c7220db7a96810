"""Conversion: a dense model's FFNs become Switch FFNs whose experts are copies of them."""

from __future__ import annotations

import copy
from collections.abc import Sequence

import torch
from torch import nn

from moenas.errors import ModelError
from moenas.models.architecture import Architecture
from moenas.models.ffn import FFN
from moenas.models.switch_ffn import GATES, Gate, SwitchFFN
from moenas.models.zoo import get_model


def architecture_of(model: nn.Module) -> Architecture:
    """Return the architecture that a model of ours was built with.

    Raises:
        ModelError: The model was not made by `build_model`, `upcycle` or `load_model`.
    """
    architecture = getattr(model, "architecture", None)
    if not isinstance(architecture, Architecture):
        raise ModelError(
            f"This {type(model).__name__} has no architecture: build it with build_model, upcycle "
            "or load_model."
        )
    return architecture


def ffn_layers(model: nn.Module) -> dict[str, FFN | SwitchFFN]:
    """Return the model's FFNs by module name, in the order of `Architecture.experts`.

    Raises:
        ModelError: The model is not one of ours.
    """
    layers: dict[str, FFN | SwitchFFN] = {}
    for layer in get_model(architecture_of(model).base).layers:
        module = model.get_submodule(layer.name)
        if not isinstance(module, FFN | SwitchFFN):
            raise ModelError(f"'{layer.name}' is a {type(module).__name__}, not an FFN.")
        layers[layer.name] = module
    return layers


def upcycle(
    dense_model: nn.Module,
    experts: Sequence[int],
    *,
    gate: Gate = "exact",
    seed: int = 0,
    noise: float = 0.0,
) -> nn.Module:
    """Convert a dense model: layer i gets ``experts[i]`` copies of its FFN and a random router.

    With gate ``"exact"`` and no noise the new model computes what the dense one computes, up to the
    rounding of differently grouped matrix products.

    Args:
        dense_model: From `build_model`; it is not changed.
        experts: Experts of each layer, 1 to 8.
        gate: See `SwitchFFN`.
        seed: Draws the routers (and the noise); torch's global generator is not touched.
        noise: Relative Gaussian noise on each expert's weights, to make copies differ.

    Returns:
        A new model on the same device, in the same mode (train or eval).

    Raises:
        ModelError: The model is not dense, the expert counts or the gate are invalid.
    """
    before = architecture_of(dense_model)
    if not before.dense:
        raise ModelError(
            f"'{before.id}' has experts already; upcycle starts from a dense model "
            f"({Architecture.dense_base(before.base).id})."
        )
    if gate not in GATES:
        raise ModelError(f"Unknown gate '{gate}': use 'exact' or 'probability'.")
    architecture = before.with_experts(experts)
    model = copy.deepcopy(dense_model)
    generator = torch.Generator().manual_seed(seed)
    for (name, ffn), count in zip(ffn_layers(model).items(), architecture.experts, strict=True):
        if count > 1:
            assert isinstance(ffn, FFN)
            switch = SwitchFFN.from_ffn(ffn, count, gate, generator=generator, noise=noise)
            model.set_submodule(name, switch)
    model.architecture = architecture  # type: ignore[assignment]
    model.gate = gate  # type: ignore[assignment]
    return model


def remove_expert(model: nn.Module, layer: str, expert: int) -> nn.Module:
    """Return a copy of ``model`` without one expert of one layer; its tokens go to the next best.

    Args:
        model: A model of ours; it is not changed.
        layer: Module name of the Switch FFN.
        expert: Index of the expert.

    Raises:
        ModelError: There is no such Switch FFN or expert.
    """
    before = architecture_of(model)
    layers = ffn_layers(model)
    switch = layers.get(layer)
    if not isinstance(switch, SwitchFFN):
        raise ModelError(f"'{layer}' is not a Switch FFN of '{before.id}'.")
    smaller = switch.without_expert(expert)
    model = copy.deepcopy(model)
    model.set_submodule(layer, smaller)
    position = list(layers).index(layer)
    counts = list(before.experts)
    counts[position] -= 1
    model.architecture = before.with_experts(counts)  # type: ignore[assignment]
    return model
