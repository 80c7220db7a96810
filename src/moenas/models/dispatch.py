"""Dispatch: bring every token to its one expert and back, without padding or dropped tokens.

Tokens are sorted by expert (stable), each expert multiplies its contiguous slice, and the rows
return to their places. Work grows with tokens, not with experts.
Axes: T tokens, E experts, D width of a token, H width of the hidden layer.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import FunctionCtx, once_differentiable

from moenas.models.activation import Activation, activate, activate_backward


def dispatch(
    x_TD: Tensor,
    expert_T: Tensor,
    counts_E: Tensor,
    w1_EHD: Tensor,
    b1_EH: Tensor,
    w2_EDH: Tensor,
    b2_ED: Tensor,
    gate_T: Tensor | None = None,
    unit_gate: bool = False,
    activation: Activation = "silu",
) -> Tensor:
    """Compute ``gate * (w2[e] act(w1[e] x + b1[e]) + b2[e])`` with e each token's expert.

    Args:
        x_TD: Tokens, contiguous.
        expert_T: Expert of each token, uint8.
        counts_E: Tokens of each expert.
        w1_EHD: First layers.
        b1_EH: Their biases.
        w2_EDH: Second layers.
        b2_ED: Their biases.
        gate_T: Factor of each token, None for 1.
        unit_gate: The gate's value is exactly 1 and only its gradient matters: the forward pass
            skips the product.
        activation: The hidden layer's.

    Returns:
        ``[T, D]``; differentiable in the tokens, the weights and the gate.
    """
    dtype = _compute_dtype(x_TD)
    x_TD = x_TD.to(dtype)
    weights = tuple(w.to(dtype) for w in (w1_EHD, b1_EH, w2_EDH, b2_ED))
    order = torch.sort(expert_T, stable=True).indices
    counts = counts_E.tolist()
    differentiable = (x_TD, *weights, *(() if gate_T is None else (gate_T,)))
    if torch.is_grad_enabled() and any(t.requires_grad for t in differentiable):
        gate = gate_T if gate_T is not None else x_TD.new_ones(x_TD.shape[0])
        unit = unit_gate or gate_T is None
        y: Tensor = _Experts.apply(x_TD, gate.to(dtype), order, counts, unit, activation, *weights)
        return y
    x_TD = x_TD.index_select(0, order)
    _, _, y_TD = _experts(x_TD, counts, activation, *weights, keep_hidden=False)
    y_TD = torch.empty_like(y_TD).index_copy_(0, order, y_TD)
    if gate_T is not None and not unit_gate:
        y_TD.mul_(gate_T.to(dtype).unsqueeze(1))
    return y_TD


def _compute_dtype(x: Tensor) -> torch.dtype:
    """Autocast's precision where it is on: ``out=`` products are not cast automatically."""
    device = x.device.type
    return torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else x.dtype


def _experts(
    x_TD: Tensor,
    counts: list[int],
    activation: Activation,
    w1_EHD: Tensor,
    b1_EH: Tensor,
    w2_EDH: Tensor,
    b2_ED: Tensor,
    *,
    keep_hidden: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    """Return (hidden before the activation, hidden after it, output) of tokens sorted by expert."""
    before_TH = x_TD.new_empty(x_TD.shape[0], w1_EHD.shape[1])
    _multiply(x_TD, counts, w1_EHD, b1_EH, before_TH)
    after_TH = activate(before_TH, activation, inplace=not keep_hidden)
    y_TD = torch.empty_like(x_TD)
    _multiply(after_TH, counts, w2_EDH, b2_ED, y_TD)
    return before_TH, after_TH, y_TD


def _multiply(x: Tensor, counts: list[int], weight: Tensor, bias: Tensor, out: Tensor) -> None:
    """Write each expert's ``x @ weight.T + bias`` to its rows of ``out``."""
    weights, biases = weight.transpose(1, 2).unbind(0), bias.unbind(0)
    rows = (torch.split(x, counts), torch.split(out, counts))
    for count, xe, oe, w, b in zip(counts, *rows, weights, biases, strict=True):
        if count:
            torch.addmm(b, xe, w, out=oe)


def _multiply_backward(
    grad: Tensor, x: Tensor, counts: list[int], weight: Tensor, grad_x: Tensor
) -> tuple[Tensor, Tensor]:
    """Write the gradient of `_multiply` in x to ``grad_x``; return those in weight and bias."""
    grad_weight, grad_bias = torch.zeros_like(weight), weight.new_zeros(weight.shape[:2])
    rows = (torch.split(t, counts) for t in (grad, x, grad_x))
    stacks = (weight.unbind(0), grad_weight.unbind(0), grad_bias.unbind(0))
    for count, ge, xe, gxe, w, gw, gb in zip(counts, *rows, *stacks, strict=True):
        if count:
            torch.mm(ge.t(), xe, out=gw)
            torch.sum(ge, 0, out=gb)
            torch.mm(ge, w, out=gxe)
    return grad_weight, grad_bias


class _Experts(torch.autograd.Function):
    """All experts as one node of the graph; products write straight into slices."""

    @staticmethod
    def forward(
        ctx: FunctionCtx,
        x_TD: Tensor,
        gate_T: Tensor,
        order: Tensor,
        counts: list[int],
        unit_gate: bool,
        activation: Activation,
        w1_EHD: Tensor,
        b1_EH: Tensor,
        w2_EDH: Tensor,
        b2_ED: Tensor,
    ) -> Tensor:
        x_TD = x_TD.index_select(0, order)
        before, after, y_TD = _experts(
            x_TD, counts, activation, w1_EHD, b1_EH, w2_EDH, b2_ED, keep_hidden=True
        )
        result = torch.empty_like(y_TD).index_copy_(0, order, y_TD)
        if not unit_gate:
            result.mul_(gate_T.unsqueeze(1))
        ctx.counts, ctx.unit_gate = counts, unit_gate  # type: ignore[attr-defined]
        ctx.activation = activation  # type: ignore[attr-defined]
        ctx.save_for_backward(x_TD, before, after, y_TD, gate_T, order, w1_EHD, w2_EDH)
        return result

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_TD: Tensor) -> tuple[Tensor | None, ...]:
        x_TD, before, after, y_TD, gate_T, order, w1_EHD, w2_EDH = ctx.saved_tensors
        grad_TD = grad_TD.index_select(0, order)
        grad_gate = None
        if ctx.needs_input_grad[1]:
            products = (grad_TD * y_TD).sum(-1)
            grad_gate = torch.empty_like(products).index_copy_(0, order, products)
        if not ctx.unit_gate:
            grad_TD.mul_(gate_T.index_select(0, order).unsqueeze(1))
        grad_TH, grad_x = torch.empty_like(before), torch.empty_like(x_TD)
        grad_w2, grad_b2 = _multiply_backward(grad_TD, after, ctx.counts, w2_EDH, grad_TH)
        grad_TH = activate_backward(grad_TH, before, ctx.activation)
        grad_w1, grad_b1 = _multiply_backward(grad_TH, x_TD, ctx.counts, w1_EHD, grad_x)
        grad_x = torch.empty_like(grad_x).index_copy_(0, order, grad_x)
        return grad_x, grad_gate, None, None, None, None, grad_w1, grad_b1, grad_w2, grad_b2
