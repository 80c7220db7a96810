"""The plain feed-forward network on tokens: what a Switch FFN replaces."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from moenas.models.activation import Activation, activate, check_activation


def pointwise(x: Tensor, layer: nn.Conv2d | nn.Linear) -> Tensor:
    """Apply a 1x1 convolution or a linear layer to tokens as one matrix product.

    Args:
        x: ``[..., in_channels]``.
        layer: Its weight is ``[out_channels, in_channels, 1, 1]`` or ``[out, in]``.

    Returns:
        ``[..., out_channels]``.
    """
    return F.linear(x, layer.weight.flatten(1), layer.bias)


class FFN(nn.Module):
    """``fc2(activation(fc1(x)))`` on tokens ``[..., dim]``, or on maps with ``channels_first``.

    The layers are those of timm's model, 1x1 convolutions or linear layers with biases, so that its
    weights load unchanged: ``[hidden, dim, 1, 1]`` and ``[dim, hidden, 1, 1]``, or without the two
    last axes. Both are applied as matrix products.

    Args:
        fc1: From dim to hidden.
        fc2: From hidden to dim.
        activation: What lies between them.
        channels_first: The input is a map ``[B, dim, H, W]``.

    Raises:
        ModelError: Unknown activation.
    """

    def __init__(
        self,
        fc1: nn.Conv2d | nn.Linear,
        fc2: nn.Conv2d | nn.Linear,
        activation: Activation = "silu",
        channels_first: bool = False,
    ) -> None:
        super().__init__()
        check_activation(activation)
        self.fc1 = fc1
        self.fc2 = fc2
        self.activation: Activation = activation
        self.channels_first = channels_first

    @property
    def dim(self) -> int:
        """Width of a token."""
        return self.fc1.weight.shape[1]

    @property
    def hidden(self) -> int:
        """Width of the hidden layer."""
        return self.fc1.weight.shape[0]

    def forward(self, x: Tensor) -> Tensor:
        """Map tokens ``[..., dim]`` to ``[..., dim]``."""
        if self.channels_first:
            x = x.movedim(1, -1)  # costs nothing in channels_last memory
        inplace = not torch.is_grad_enabled()
        hidden = activate(pointwise(x, self.fc1), self.activation, inplace=inplace)
        y = pointwise(hidden, self.fc2)
        return y.movedim(-1, 1) if self.channels_first else y
