"""Experts on CUDA: grouped matrix products, whose group sizes never come to the host.

Axes: T tokens, E experts, D width of a token, H width of the hidden layer.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from moenas.models.activation import Activation, activate

HOPPER = 9
"""Compute capability. On other cards, and in float32, torch's grouped product is a loop that waits
for the sizes; on Blackwell, before torch 2.13, it fails."""


def usable(x_TD: Tensor, w1_EHD: Tensor) -> bool:
    """Whether torch multiplies all groups of these at once: rows are multiples of 16 bytes."""
    rows = w1_EHD.shape[1] * x_TD.element_size(), w1_EHD.shape[2] * x_TD.element_size()
    return (
        x_TD.device.type == "cuda"
        and x_TD.dtype == torch.bfloat16
        and hasattr(F, "grouped_mm")
        and x_TD.shape[0] > 0
        and all(row % 16 == 0 for row in rows)
        and torch.cuda.get_device_capability(x_TD.device)[0] == HOPPER
    )


def grouped_experts(
    x_TD: Tensor,
    expert_T: Tensor,
    counts_E: Tensor,
    gate_T: Tensor | None,
    weights: tuple[Tensor, Tensor, Tensor, Tensor],
    activation: Activation,
) -> Tensor:
    """Return ``gate * (w2[e] act(w1[e] x + b1[e]) + b2[e])``, ``[T, D]``, differentiable."""
    w1, b1, w2, b2 = weights
    order = torch.sort(expert_T, stable=True).indices
    sorted_T = expert_T.long().index_select(0, order)
    ends = counts_E.cumsum(0).to(torch.int32)

    def multiply(rows: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        product: Tensor = F.grouped_mm(rows, weight.transpose(1, 2), offs=ends)
        product = _ContiguousGradient.apply(product)
        return product + bias.index_select(0, sorted_T)

    hidden_TH = activate(multiply(x_TD.index_select(0, order), w1, b1), activation)
    y_TD = multiply(hidden_TH, w2, b2)
    if gate_T is not None:
        y_TD = y_TD * gate_T.index_select(0, order).unsqueeze(1)
    return torch.empty_like(y_TD).index_copy(0, order, y_TD)


class _ContiguousGradient(torch.autograd.Function):
    """The identity; grouped_mm's float32 backward crashes on an expanded gradient."""

    @staticmethod
    def forward(ctx: object, x: Tensor) -> Tensor:
        return x.view_as(x)

    @staticmethod
    def backward(ctx: object, grad: Tensor) -> Tensor:
        return grad.contiguous()
