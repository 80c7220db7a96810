"""Dispatch: bring every token to its one expert and back, without padding or dropped tokens.

Four ways compute the same: the kernel (CPU, float32), sorted slices in torch (any type, any
device), grouped products (Hopper GPUs, bfloat16), and, while torch compiles or exports, an operator
that takes the first or the second when it runs. Axes: T tokens, E experts, D width of a token, H
width of the hidden layer.
"""

from __future__ import annotations

import torch
from torch import Tensor

from moenas.models.activation import Activation
from moenas.models.grouped_experts import grouped_experts
from moenas.models.grouped_experts import usable as grouped_usable
from moenas.models.kernels import ops
from moenas.models.sorted_experts import SortedExperts, infer


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
        x_TD: Tokens.
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
    given = (w1_EHD, b1_EH, w2_EDH, b2_ED)
    dtype = _compute_dtype(x_TD)
    x_TD = x_TD.to(dtype)
    gate_T = None if gate_T is None else gate_T.to(dtype)
    unit = unit_gate or gate_T is None
    derivative = needs_derivative(x_TD, *given, gate_T)
    if not derivative and is_eager(x_TD) and (found := ops.usable_kernel(x_TD, w1_EHD, w2_EDH)):
        gate = None if unit else gate_T
        return ops.experts_now(found, x_TD, expert_T, gate, given, activation)
    w1, b1, w2, b2 = weights = tuple(w.to(dtype) for w in given)
    if grouped_usable(x_TD, w1):
        kept = gate_T if derivative or not unit else None
        return grouped_experts(x_TD, expert_T, counts_E, kept, (w1, b1, w2, b2), activation)
    gate = gate_T if gate_T is not None else x_TD.new_ones(x_TD.shape[0])
    y: Tensor
    if not is_eager(x_TD) or (derivative and ops.usable_kernel(x_TD, w1, w2)):
        y, _ = ops.experts(x_TD, expert_T, gate, *weights, activation, unit)
    elif derivative:
        y = SortedExperts.apply(x_TD, expert_T, gate, unit, activation, *weights)
    else:
        y = infer(x_TD, expert_T, None if unit else gate, (w1, b1, w2, b2), activation)
    return y


def needs_derivative(*tensors: Tensor | None) -> bool:
    """Whether autograd records what is computed from these."""
    return torch.is_grad_enabled() and any(t is not None and t.requires_grad for t in tensors)


def is_eager(x: Tensor) -> bool:
    """Whether ``x`` has memory to read now: nothing traces, compiles, maps, exports or fakes."""
    return not (
        torch.compiler.is_compiling()
        or _is_mapped()
        or type(x) not in (Tensor, torch.nn.Parameter)
        or torch._C._is_tracing()
        or torch._C._len_torch_dispatch_stack() > 0
    )


def _is_mapped() -> bool:
    """Whether torch.func.vmap runs: a tensor may then stand for many, without memory of its own."""
    functorch = torch._C._functorch
    inner = functorch.peek_interpreter_stack()
    return inner is not None and inner.key() == functorch.TransformType.Vmap


def _compute_dtype(x: Tensor) -> torch.dtype:
    """Autocast's precision where it is on: ``out=`` products are not cast automatically."""
    device = x.device.type
    return torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else x.dtype
