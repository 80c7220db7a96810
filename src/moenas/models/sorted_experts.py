"""Experts with torch alone: sort the tokens by expert, multiply slices, put the rows back.

No token is padded or dropped, and work grows with tokens, not with experts. Axes: T tokens, E
experts, D width of a token, H width of the hidden layer.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import FunctionCtx, once_differentiable

from moenas.models.activation import Activation, activate, activate_backward

Weights = tuple[Tensor, Tensor, Tensor, Tensor]
"""First layers ``[E, H, D]`` and biases ``[E, H]``, second layers ``[E, D, H]`` and ``[E, D]``."""


@dataclasses.dataclass(frozen=True)
class Kept:
    """What the backward pass needs; rows are sorted by expert.

    Attributes:
        x: The tokens ``[T, D]``.
        before: Hidden layer before the activation ``[T, H]``.
        after: After it.
        order: The tokens' places ``[T]``.
        counts: Tokens of each expert.
    """

    x: Tensor
    before: Tensor
    after: Tensor
    order: Tensor
    counts: list[int]

    @classmethod
    def again(
        cls, x_TD: Tensor, expert_T: Tensor, before_TH: Tensor, experts: int, activation: Activation
    ) -> Kept:
        """Compute it anew from unsorted tokens and the hidden layer."""
        order, counts = sort(expert_T, experts)
        after = activate(before_TH, activation)
        return cls(x_TD.index_select(0, order), before_TH, after, order, counts)


def sort(expert_T: Tensor, experts: int) -> tuple[Tensor, list[int]]:
    """Return the tokens' order by expert (stable) and each expert's number of tokens."""
    order = torch.sort(expert_T, stable=True).indices
    return order, torch.bincount(expert_T, minlength=experts).tolist()


def infer(
    x_TD: Tensor, expert_T: Tensor, gate_T: Tensor | None, weights: Weights, activation: Activation
) -> Tensor:
    """Return ``gate * (w2[e] act(w1[e] x + b1[e]) + b2[e])``, ``[T, D]``, without derivative."""
    w1, b1, w2, b2 = weights
    order, counts = sort(expert_T, w1.shape[0])
    x_TD = x_TD.index_select(0, order)
    hidden_TH = x_TD.new_empty(x_TD.shape[0], w1.shape[1])
    _multiply(x_TD, counts, w1, b1, hidden_TH)
    _multiply(activate(hidden_TH, activation, inplace=True), counts, w2, b2, x_TD)
    return _put_back(x_TD, order, gate_T)


def forward(
    x_TD: Tensor, expert_T: Tensor, gate_T: Tensor | None, weights: Weights, activation: Activation
) -> tuple[Tensor, Kept]:
    """As `infer`, and what `backward` needs."""
    w1, b1, w2, b2 = weights
    order, counts = sort(expert_T, w1.shape[0])
    x_TD = x_TD.index_select(0, order)
    before_TH = x_TD.new_empty(x_TD.shape[0], w1.shape[1])
    _multiply(x_TD, counts, w1, b1, before_TH)
    after_TH = activate(before_TH, activation)
    y_TD = torch.empty_like(x_TD)
    _multiply(after_TH, counts, w2, b2, y_TD)
    return _put_back(y_TD, order, gate_T), Kept(x_TD, before_TH, after_TH, order, counts)


def backward(
    grad_TD: Tensor,
    kept: Kept,
    gate_T: Tensor | None,
    w1_EHD: Tensor,
    w2_EDH: Tensor,
    b2_ED: Tensor,
    activation: Activation,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Return the gradients in x, gate, w1, b1, w2 and b2.

    The gate's is the product of the upstream gradient and the expert's output, which is not kept:
    ``<g, w2 a + b2> = <w2^T g, a> + <g, b2>``.
    """
    order, counts = kept.order, kept.counts
    grad_TD = grad_TD.index_select(0, order)
    grad_TH, grad_x = torch.empty_like(kept.before), torch.empty_like(kept.x)
    _multiply_backward_input(grad_TD, counts, w2_EDH, grad_TH)
    grad_gate = torch.linalg.vecdot(grad_TH, kept.after)
    rows = (torch.split(grad_TD, counts), torch.split(grad_gate, counts))
    for ge, gg, b2 in zip(*rows, b2_ED.unbind(0), strict=True):
        gg.addmv_(ge, b2)
    if gate_T is not None:
        gate = gate_T.index_select(0, order).unsqueeze(1)
        grad_TD, grad_TH = grad_TD.mul_(gate), grad_TH.mul_(gate)
    grad_w2, grad_b2 = _multiply_backward_weight(grad_TD, kept.after, counts, w2_EDH)
    grad_TH = activate_backward(grad_TH, kept.before, activation)
    grad_w1, grad_b1 = _multiply_backward_weight(grad_TH, kept.x, counts, w1_EHD)
    _multiply_backward_input(grad_TH, counts, w1_EHD, grad_x)
    grad_x, grad_gate = _put_back(grad_x, order), _put_back(grad_gate, order)
    return grad_x, grad_gate, grad_w1, grad_b1, grad_w2, grad_b2


def _put_back(rows: Tensor, order: Tensor, gate_T: Tensor | None = None) -> Tensor:
    result = torch.empty_like(rows).index_copy_(0, order, rows)
    return result if gate_T is None else result.mul_(gate_T.unsqueeze(1))


def _multiply(x: Tensor, counts: list[int], weight: Tensor, bias: Tensor, out: Tensor) -> None:
    """Write each expert's ``x @ weight.T + bias`` to its rows of ``out``."""
    weights, biases = weight.transpose(1, 2).unbind(0), bias.unbind(0)
    rows = (torch.split(x, counts), torch.split(out, counts))
    for count, xe, oe, w, b in zip(counts, *rows, weights, biases, strict=True):
        if count:
            torch.addmm(b, xe, w, out=oe)


def _multiply_backward_input(grad: Tensor, counts: list[int], weight: Tensor, out: Tensor) -> None:
    """Write the gradient of `_multiply` in x to ``out``."""
    rows = (torch.split(grad, counts), torch.split(out, counts))
    for count, ge, oe, w in zip(counts, *rows, weight.unbind(0), strict=True):
        if count:
            torch.mm(ge, w, out=oe)


def _multiply_backward_weight(
    grad: Tensor, x: Tensor, counts: list[int], weight: Tensor
) -> tuple[Tensor, Tensor]:
    """Return the gradients of `_multiply` in weight and bias; zeros for experts without tokens."""
    grad_weight, grad_bias = weight.new_zeros(weight.shape), weight.new_zeros(weight.shape[:2])
    rows = (torch.split(grad, counts), torch.split(x, counts))
    sums = (grad_weight.unbind(0), grad_bias.unbind(0))
    for count, ge, xe, gw, gb in zip(counts, *rows, *sums, strict=True):
        if count:
            torch.mm(ge.t(), xe, out=gw)
            torch.sum(ge, 0, out=gb)
    return grad_weight, grad_bias


class SortedExperts(torch.autograd.Function):
    """All experts as one node of the graph; products write straight into slices."""

    @staticmethod
    def forward(
        ctx: FunctionCtx,
        x_TD: Tensor,
        expert_T: Tensor,
        gate_T: Tensor,
        unit_gate: bool,
        activation: Activation,
        *weights: Tensor,
    ) -> Tensor:
        """Compute the output ``[T, D]``; see `moenas.models.dispatch.dispatch`."""
        w1, b1, w2, b2 = weights
        gate = None if unit_gate else gate_T
        y_TD, kept = forward(x_TD, expert_T, gate, (w1, b1, w2, b2), activation)
        ctx.counts, ctx.unit_gate = kept.counts, unit_gate  # type: ignore[attr-defined]
        ctx.activation = activation  # type: ignore[attr-defined]
        tensors = (kept.x, kept.before, kept.after, kept.order)
        ctx.save_for_backward(*tensors, gate_T, w1, w2, b2)
        return y_TD

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_TD: Tensor) -> tuple[Tensor | None, ...]:
        """Return the gradients in the tokens, the gate and the weights."""
        x, before, after, order, gate_T, w1, w2, b2 = ctx.saved_tensors
        kept = Kept(x, before, after, order, ctx.counts)
        gate = None if ctx.unit_gate else gate_T
        grads = backward(grad_TD, kept, gate, w1, w2, b2, ctx.activation)
        return grads[0], None, grads[1], None, None, *grads[2:]
