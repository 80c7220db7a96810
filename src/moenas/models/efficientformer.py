"""EfficientFormer's attention for images below 224 px: same weights, same output at 224.

timm's has one learned bias for each offset between two of 7 x 7 positions and takes no other number
of them. A smaller map has a subset of these offsets, so its biases are there already.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from timm.models.efficientformer import Attention
from torch import Tensor, nn

from moenas.errors import ModelError


class OffsetAttention(nn.Module):
    """Multi-head attention with a bias by offset, on ``[B, N, C]`` with N = 1, 4, 9, ... 49."""

    attention_biases: Tensor
    attention_bias_idxs: Tensor

    def __init__(self, attention: Any) -> None:
        """Take the parameters over from timm's ``Attention``."""
        super().__init__()
        self.num_heads: int = attention.num_heads
        self.widths: list[int] = [attention.key_dim, attention.key_dim, attention.val_dim]
        self.scale: float = attention.scale
        self.qkv: nn.Linear = attention.qkv
        self.proj: nn.Linear = attention.proj
        self.attention_biases = attention.attention_biases  # [heads, offsets]
        self.register_buffer("attention_bias_idxs", attention.attention_bias_idxs)  # [49, 49]
        self.side = math.isqrt(self.attention_bias_idxs.shape[0])

    def forward(self, x: Tensor) -> Tensor:
        """Map ``[B, N, C]`` to ``[B, N, C]``.

        Raises:
            ModelError: The positions are no square, or more than there are biases for.
        """
        B, N, _ = x.shape
        q, k, v = (
            self.qkv(x).reshape(B, N, self.num_heads, -1).transpose(1, 2).split(self.widths, dim=3)
        )
        scores = (q @ k.transpose(2, 3)) * self.scale + self._biases(N)
        y: Tensor = self.proj((scores.softmax(dim=-1) @ v).transpose(1, 2).reshape(B, N, -1))
        return y

    def _biases(self, positions: int) -> Tensor:
        """Biases ``[heads, N, N]`` of a square map."""
        side = math.isqrt(positions)
        if side * side != positions or side > self.side:
            raise ModelError(
                f"EfficientFormer takes square images of at most {32 * self.side} pixels: it has "
                f"attention biases for {self.side} x {self.side} positions."
            )
        if side == self.side:
            return self.attention_biases[:, self.attention_bias_idxs]
        rows = torch.arange(side, device=self.attention_bias_idxs.device)
        corner = (rows[:, None] * self.side + rows).flatten()
        return self.attention_biases[:, self.attention_bias_idxs[corner[:, None], corner]]


def allow_smaller_images(model: nn.Module) -> None:
    """Replace timm's attention in place."""
    for path, module in list(model.named_modules()):
        if isinstance(module, Attention):
            model.set_submodule(path, OffsetAttention(module))
