"""Sub-networks of a supernet: a layer with n experts uses the supernet's first n.

Each is a model of its own, with the supernet's weights: whole (`subnet`), or as a mask while the
supernet stays what it is (`active_subnet`), for training.
"""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Iterator, Sequence

from torch import nn

from moenas.errors import ModelError
from moenas.models.architecture import Architecture
from moenas.models.convert import architecture_of, ffn_layers
from moenas.models.routing import disabled_experts
from moenas.models.switch_ffn import SwitchFFN


def subnet(supernet: nn.Module, experts: Sequence[int]) -> nn.Module:
    """Return a copy of the supernet with the first ``experts[i]`` experts of each layer i.

    Its batch norms keep the supernet's statistics, which are those of no architecture in
    particular: recalibrate them before it is judged.

    Args:
        supernet: A model of ours; it is not changed.
        experts: Experts of each layer, from 1 to what the supernet has there.

    Raises:
        ModelError: A layer of the supernet has fewer experts, or there are not as many layers.
    """
    architecture = _part_of(supernet, experts)
    model = copy.deepcopy(supernet)
    for (name, layer), count in zip(ffn_layers(model).items(), experts, strict=True):
        if isinstance(layer, SwitchFFN) and count < layer.num_experts:
            model.set_submodule(name, layer.with_experts(range(count)))
    model.architecture = architecture  # type: ignore[assignment]
    return model


@contextlib.contextmanager
def active_subnet(supernet: nn.Module, experts: Sequence[int]) -> Iterator[None]:
    """Let the supernet compute as `subnet` would, while the context is open.

    Args:
        supernet: A model of ours.
        experts: As in `subnet`.

    Raises:
        ModelError: As in `subnet`.
    """
    _part_of(supernet, experts)
    off = {
        name: set(range(count, layer.num_experts))
        for (name, layer), count in zip(ffn_layers(supernet).items(), experts, strict=True)
        if isinstance(layer, SwitchFFN) and count < layer.num_experts
    }
    with disabled_experts(supernet, off):
        yield


def _part_of(supernet: nn.Module, experts: Sequence[int]) -> Architecture:
    whole = architecture_of(supernet)
    architecture = whole.with_experts(experts)
    if any(n > most for n, most in zip(experts, whole.experts, strict=True)):
        raise ModelError(f"'{architecture.id}' is no part of the supernet '{whole.id}'.")
    return architecture
