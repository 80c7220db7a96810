"""The Switch FFN as torch operators: what torch.compile, torch.export and autograd see.

Each operator computes with the kernel where it can be had and with torch elsewhere, so that a graph
that was compiled or exported on one machine runs on any. Axes: T tokens, E experts, D width of a
token, H width of the hidden layer.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd import forward_ad
from torch.nn import Parameter
from torch.utils.flop_counter import register_flop_formula

from moenas.models import sorted_experts
from moenas.models.activation import Activation
from moenas.models.kernels.layer import Layer, cached_layer, forget
from moenas.models.kernels.library import (
    DTYPES,
    MAX_EXPERTS,
    MAX_TOKENS,
    Kernel,
    OutOfDateError,
)
from moenas.models.kernels.loader import kernel
from moenas.models.sorted_experts import Weights

_Six = tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]


def usable_kernel(x: Tensor, w1_EHD: Tensor, w2_EDH: Tensor) -> Kernel | None:
    """Return the kernel if it can compute this: float32 tokens on the CPU, weights of `DTYPES`."""
    fits = (
        forward_ad._current_level < 0  # tangents would be lost
        and all(_is_plain(t) for t in (x, w1_EHD, w2_EDH))
        and x.device.type == "cpu"
        and x.dtype == torch.float32
        and w1_EHD.dtype in DTYPES
        and w1_EHD.dtype == w2_EDH.dtype
        and 0 < w1_EHD.shape[0] <= MAX_EXPERTS
        and w1_EHD.numel() > 0
        and x.numel() <= MAX_TOKENS * x.shape[-1]
    )
    return kernel() if fits else None


def _is_plain(tensor: Tensor) -> bool:
    """Whether its memory holds its numbers: no subclass, no zero or sign that is only noted."""
    kind = type(tensor)
    if kind is not Tensor and kind is not Parameter:
        return False
    return not (tensor._is_zerotensor() or tensor.is_neg())


def switch_ffn_now(
    found: Kernel,
    x: Tensor,
    router_ED: Tensor,
    weights: Weights,
    activation: Activation,
    scale: bool,
    disabled: frozenset[int],
) -> Tensor:
    """Compute `switch_ffn` with the kernel, without an operator's overhead; see there."""
    router_ED = router_ED.detach().float()

    def compute(layer: Layer) -> Tensor:
        return found.switch_ffn(x, router_ED, layer, scale=scale, disabled=disabled)

    return _with_packed(found, weights, activation, compute)


def experts_now(
    found: Kernel,
    x_TD: Tensor,
    expert_T: Tensor,
    gate_T: Tensor | None,
    weights: Weights,
    activation: Activation,
) -> Tensor:
    """Compute `experts` with the kernel, without an operator's overhead or a derivative."""

    def compute(layer: Layer) -> Tensor:
        return found.experts(x_TD, expert_T, gate_T, layer, keep=False)[0]

    return _with_packed(found, weights, activation, compute)


def _with_packed(
    found: Kernel, weights: Weights, activation: Activation, compute: Callable[[Layer], Tensor]
) -> Tensor:
    """Compute with the kept packed weights, or with new ones where those are out of date."""
    try:
        return compute(cached_layer(found.layer, weights, activation))
    except OutOfDateError:
        forget(weights[0])
        return compute(found.layer(weights, activation, watched=False))


# ----------------------------------------------------------------------------- inference, in one


@torch.library.custom_op("moenas::switch_ffn", mutates_args=())
def switch_ffn(
    x: Tensor,
    router_ED: Tensor,
    w1_EHD: Tensor,
    b1_EH: Tensor,
    w2_EDH: Tensor,
    b2_ED: Tensor,
    disabled: list[int],
    activation: str,
    scale: bool,
) -> Tensor:
    """Route tokens ``[..., D]`` and apply their experts; not differentiable.

    Args:
        x: Tokens.
        router_ED: The router's weight.
        w1_EHD: First layers.
        b1_EH: Their biases.
        w2_EDH: Second layers.
        b2_ED: Their biases.
        disabled: Experts that are not candidates.
        activation: ``"silu"`` or ``"gelu"``.
        scale: Multiply with the chosen expert's probability.
    """
    name = cast(Activation, activation)
    weights = (w1_EHD, b1_EH, w2_EDH, b2_ED)
    if found := usable_kernel(x, w1_EHD, w2_EDH):
        return switch_ffn_now(found, x, router_ED, weights, name, scale, frozenset(disabled))
    x_TD = x.reshape(-1, x.shape[-1])
    expert, p = _route(x_TD, router_ED, disabled)
    gate = p.to(x.dtype) if scale else None
    w1, b1, w2, b2 = (w.to(x.dtype) for w in weights)
    y = sorted_experts.infer(x_TD, expert, gate, (w1, b1, w2, b2), name)
    return torch.empty_like(x).copy_(y.view(x.shape))


def _route(x_TD: Tensor, router_ED: Tensor, disabled: list[int]) -> tuple[Tensor, Tensor]:
    """Return each token's best expert among the enabled ones (uint8) and its probability."""
    keep = [e for e in range(router_ED.shape[0]) if e not in disabled]
    logits = F.linear(x_TD.float(), router_ED.float()[keep])
    p, best = logits.softmax(dim=-1).max(dim=-1)
    names = torch.tensor(keep, dtype=torch.uint8, device=x_TD.device)
    return names[best], p


@switch_ffn.register_fake
def _(x: Tensor, *_rest: object) -> Tensor:
    return torch.empty_like(x)


# --------------------------------------------------------------- experts given, with a derivative


@torch.library.custom_op("moenas::experts", mutates_args=())
def experts(
    x_TD: Tensor,
    expert_T: Tensor,
    gate_T: Tensor,
    w1_EHD: Tensor,
    b1_EH: Tensor,
    w2_EDH: Tensor,
    b2_ED: Tensor,
    activation: str,
    unit_gate: bool,
) -> tuple[Tensor, Tensor]:
    """Apply given experts to tokens.

    Args:
        x_TD: Tokens.
        expert_T: Expert of each, uint8.
        gate_T: Factor of each.
        w1_EHD: First layers.
        b1_EH: Their biases.
        w2_EDH: Second layers.
        b2_ED: Their biases.
        activation: ``"silu"`` or ``"gelu"``.
        unit_gate: The gate's value is 1; only its gradient matters.

    Returns:
        The output ``[T, D]`` and, for the backward pass, the hidden layer before its activation
        ``[T, H]``, sorted by expert.
    """
    name, gate = cast(Activation, activation), None if unit_gate else gate_T
    if found := _training_kernel(x_TD, w1_EHD, w2_EDH, gate_T):
        layer = found.layer((w1_EHD, b1_EH, w2_EDH, b2_ED), name, watched=False)
        y, before = found.experts(x_TD, expert_T, gate, layer, keep=True)
        assert before is not None
        return y, before
    weights = (w1_EHD, b1_EH, w2_EDH, b2_ED)
    y, kept = sorted_experts.forward(x_TD, expert_T, gate, weights, name)
    return y, kept.before


def _training_kernel(x: Tensor, w1: Tensor, w2: Tensor, gate: Tensor) -> Kernel | None:
    """The kernel, if everything is float32: training has no other type there."""
    same = w1.dtype == gate.dtype == torch.float32
    return usable_kernel(x, w1, w2) if same else None


@experts.register_fake
def _(x_TD: Tensor, _expert: Tensor, _gate: Tensor, w1: Tensor, *_rest: object) -> Any:
    return x_TD.new_empty(x_TD.shape), x_TD.new_empty(x_TD.shape[0], w1.shape[1])


@torch.library.custom_op("moenas::experts_backward", mutates_args=())
def experts_backward(
    grad_TD: Tensor,
    x_TD: Tensor,
    expert_T: Tensor,
    gate_T: Tensor,
    before_TH: Tensor,
    w1_EHD: Tensor,
    w2_EDH: Tensor,
    b2_ED: Tensor,
    activation: str,
    unit_gate: bool,
) -> _Six:
    """Return the gradients of `experts` in x, gate, w1, b1, w2 and b2."""
    name, gate = cast(Activation, activation), None if unit_gate else gate_T
    weights = (w1_EHD, w2_EDH, b2_ED)
    if found := _training_kernel(x_TD, w1_EHD, w2_EDH, gate_T):
        return found.experts_backward(grad_TD, x_TD, expert_T, gate, before_TH, *weights, name)
    kept = sorted_experts.Kept.again(x_TD, expert_T, before_TH, w1_EHD.shape[0], name)
    return sorted_experts.backward(grad_TD, kept, gate, *weights, name)


@experts_backward.register_fake
def _(
    _grad: Tensor,
    x_TD: Tensor,
    _expert: Tensor,
    gate_T: Tensor,
    _before: Tensor,
    w1: Tensor,
    w2: Tensor,
    b2: Tensor,
    *_rest: object,
) -> Any:
    like = (x_TD, gate_T, w1, w1[:, :, 0], w2, b2)
    return tuple(t.new_empty(t.shape) for t in like)


def _keep(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    x, expert, gate, w1, _, w2, b2, ctx.activation, ctx.unit_gate = inputs
    ctx.save_for_backward(x, expert, gate, output[1], w1, w2, b2)
    ctx.mark_non_differentiable(output[1])


def _backward(ctx: Any, grad_TD: Tensor, _: object) -> tuple[Tensor | None, ...]:
    grads = experts_backward(grad_TD, *ctx.saved_tensors, ctx.activation, ctx.unit_gate)
    x, gate, *weights = (
        grad if needed else None
        for grad, needed in zip(grads, _needed(ctx.needs_input_grad), strict=True)
    )
    return x, None, gate, *weights, None, None


def _needed(inputs: tuple[bool, ...]) -> tuple[bool, ...]:
    """Which of `experts_backward`'s results are wanted: all inputs of `experts` but the indices."""
    return inputs[0], *inputs[2:7]


experts.register_autograd(_backward, setup_context=_keep)


# ---------------------------------------------------------- work, for torch's own FLOP counter


@register_flop_formula(torch.ops.moenas.switch_ffn)
def _flops(
    x: tuple[int, ...], router: tuple[int, ...], w1: tuple[int, ...], *rest: Any, **_: Any
) -> int:
    tokens, (E, H, D), disabled = math.prod(x[:-1]), w1, rest[3]
    return 2 * tokens * ((E - len(disabled)) * D + 2 * D * H)


@register_flop_formula(torch.ops.moenas.experts)
def _(x: tuple[int, ...], _e: Any, _g: Any, w1: tuple[int, ...], *_: Any, **__: Any) -> int:
    return 4 * x[0] * w1[1] * w1[2]


@register_flop_formula(torch.ops.moenas.experts_backward)
def _(
    _: Any, x: tuple[int, ...], _e: Any, _g: Any, before: tuple[int, ...], *__: Any, **___: Any
) -> int:
    return 8 * x[0] * x[1] * before[1]
