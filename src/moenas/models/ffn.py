"""The plain feed-forward network on tokens: what a Switch FFN replaces."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def pointwise(x: Tensor, conv: nn.Conv2d) -> Tensor:
    """Apply a 1x1 convolution to tokens as one matrix product.

    Args:
        x: ``[..., in_channels]``.
        conv: Its weight is ``[out_channels, in_channels, 1, 1]``.

    Returns:
        ``[..., out_channels]``.
    """
    return F.linear(x, conv.weight.flatten(1), conv.bias)


class FFN(nn.Module):
    """``fc2(SiLU(fc1(x)))`` on tokens ``[..., dim]``.

    The layers are 1x1 convolutions, because timm stores them so: weights ``[hidden, dim, 1, 1]``
    and ``[dim, hidden, 1, 1]`` load into it unchanged. They are applied as matrix products.
    """

    def __init__(self, fc1: nn.Conv2d, fc2: nn.Conv2d) -> None:
        super().__init__()
        self.fc1 = fc1
        self.fc2 = fc2

    @property
    def dim(self) -> int:
        """Width of a token."""
        return self.fc1.in_channels

    @property
    def hidden(self) -> int:
        """Width of the hidden layer."""
        return self.fc1.out_channels

    def forward(self, x: Tensor) -> Tensor:
        """Map tokens ``[..., dim]`` to ``[..., dim]``."""
        hidden = F.silu(pointwise(x, self.fc1), inplace=not torch.is_grad_enabled())
        return pointwise(hidden, self.fc2)
