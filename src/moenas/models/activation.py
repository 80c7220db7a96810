"""The activations that an FFN can have, forward and backward, by name."""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from moenas.errors import ModelError

Activation = Literal["silu", "gelu"]
"""``gelu`` is the exact one, with the error function, as in timm's and torch's ``nn.GELU()``."""
ACTIVATIONS: tuple[Activation, ...] = ("silu", "gelu")


def check_activation(activation: str) -> None:
    """Refuse an unknown activation.

    Raises:
        ModelError: It is none of `ACTIVATIONS`.
    """
    if activation not in ACTIVATIONS:
        raise ModelError(f"Unknown activation '{activation}': use 'silu' or 'gelu'.")


def activate(x: Tensor, activation: Activation, *, inplace: bool = False) -> Tensor:
    """Apply the activation to every element; in place it spares memory where no gradient is."""
    if activation == "silu":
        return F.silu(x, inplace=inplace)
    result: Tensor = torch.ops.aten.gelu_(x) if inplace else F.gelu(x)
    return result


def activate_backward(grad: Tensor, before: Tensor, activation: Activation) -> Tensor:
    """Return the gradient in the activation's input ``before`` from the one in its output."""
    aten = torch.ops.aten
    backward = aten.silu_backward if activation == "silu" else aten.gelu_backward
    result: Tensor = backward(grad, before)
    return result
