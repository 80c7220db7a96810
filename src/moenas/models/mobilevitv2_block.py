"""MobileViTV2's block with tokens as rows: same weights, same output as timm's, less time.

timm keeps the unfolded map channels-first, ``[B, C, P, N]``, and applies 1x1 convolutions. Here
the block stays token-major, ``[B, P, N, C]`` (P pixels of a patch, N patches): every 1x1
convolution is a matrix product on contiguous rows, the convolutions around it see channels_last
memory, and a Switch FFN finds its tokens without a transpose. Parameters keep timm's names and
shapes, so state dicts are exchanged unchanged.

Source: Mehta and Rastegari, Separable Self-attention for Mobile Vision Transformers, 2022.
"""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from moenas.models.ffn import FFN, pointwise


class SiLU(nn.Module):
    """SiLU, in place where no gradient is wanted: in training that costs a copy of the map."""

    def forward(self, x: Tensor) -> Tensor:
        """Apply SiLU to any tensor."""
        return F.silu(x, inplace=not torch.is_grad_enabled())


def group_norm(norm: nn.GroupNorm, x: Tensor) -> Tensor:
    """Normalise token-major ``[B, P, N, C]`` over channels and positions of each image."""
    y = F.group_norm(x.permute(0, 3, 1, 2), norm.num_groups, norm.weight, norm.bias, norm.eps)
    return y.permute(0, 2, 3, 1)


class SeparableAttention(nn.Module):
    """Separable self-attention on ``[B, P, N, C]``, each of the P pixel positions for itself.

    The scores are a softmax over N and sum to one, so the weighted sum of the keys equals the
    key projection of the weighted sum of the tokens: ``sum_n s_n (W x_n + b) = W (sum_n s_n x_n)
    + b``. Keys of single tokens are never computed, which saves a third of the projections.
    """

    def __init__(self, qkv_proj: nn.Conv2d, out_proj: nn.Conv2d) -> None:
        super().__init__()
        self.qkv_proj = qkv_proj  # rows: 1 query, C keys, C values
        self.out_proj = out_proj

    def forward(self, x: Tensor) -> Tensor:
        """Map ``[B, P, N, C]`` to ``[B, P, N, C]``."""
        C = x.shape[-1]
        weight, bias = self.qkv_proj.weight.flatten(1), self.qkv_proj.bias
        assert bias is not None
        w_query, w_key, w_value = torch.split(weight, [1, C, C])
        b_query, b_key, b_value = torch.split(bias, [1, C, C])
        scores = F.linear(x, w_query, b_query).softmax(dim=2)  # [B, P, N, 1]
        context = F.linear(torch.matmul(scores.transpose(2, 3), x), w_key, b_key)  # [B, P, 1, C]
        return pointwise(F.linear(x, w_value, b_value).relu() * context, self.out_proj)


class TransformerLayer(nn.Module):
    """Pre-norm layer: separable attention, then the FFN (plain or Switch), on ``[B, P, N, C]``."""

    def __init__(self, layer: Any) -> None:
        """Take the parameters over from timm's ``LinearTransformerBlock``."""
        super().__init__()
        self.norm1: nn.GroupNorm = layer.norm1
        self.attn = SeparableAttention(layer.attn.qkv_proj, layer.attn.out_proj)
        self.drop_path1: nn.Module = layer.drop_path1
        self.norm2: nn.GroupNorm = layer.norm2
        self.mlp: nn.Module = FFN(layer.mlp.fc1, layer.mlp.fc2)
        self.drop_path2: nn.Module = layer.drop_path2

    def forward(self, x: Tensor) -> Tensor:
        """Map ``[B, P, N, C]`` to ``[B, P, N, C]``."""
        x = x + self.drop_path1(self.attn(group_norm(self.norm1, x)))
        y: Tensor = self.drop_path2(self.mlp(group_norm(self.norm2, x)))
        return x + y


class TokenMajorBlock(nn.Module):
    """MobileViTV2 block on maps ``[B, C, H, W]`` (channels_last for speed)."""

    def __init__(self, block: Any) -> None:
        """Take the parameters over from timm's ``MobileVitV2Block``."""
        super().__init__()
        self.conv_kxk: nn.Module = block.conv_kxk
        self.conv_1x1: nn.Module = block.conv_1x1
        self.transformer = nn.Sequential(*(TransformerLayer(layer) for layer in block.transformer))
        self.norm: nn.GroupNorm = block.norm
        self.conv_proj: nn.Module = block.conv_proj
        self.patch_size: tuple[int, int] = block.patch_size

    def forward(self, x: Tensor) -> Tensor:
        """Map ``[B, C, H, W]`` to ``[B, C', H', W']``: sides rounded up to whole patches."""
        ph, pw = self.patch_size
        nh, nw = math.ceil(x.shape[2] / ph), math.ceil(x.shape[3] / pw)
        if (nh * ph, nw * pw) != tuple(x.shape[2:]):
            x = F.interpolate(x, size=(nh * ph, nw * pw), mode="bilinear", align_corners=True)
        x = self.conv_1x1(self.conv_kxk(x)).permute(0, 2, 3, 1)
        B, H, W, C = x.shape
        x = x.reshape(B, nh, ph, nw, pw, C).permute(0, 2, 4, 1, 3, 5)
        x = x.reshape(B, ph * pw, nh * nw, C)
        x = group_norm(self.norm, self.transformer(x))
        x = x.reshape(B, ph, pw, nh, nw, C).permute(0, 3, 1, 4, 2, 5)
        x = x.reshape(B, H, W, C).permute(0, 3, 1, 2)
        y: Tensor = self.conv_proj(x)
        return y
