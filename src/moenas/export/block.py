"""MobileViTV2's block as devices like it: rows, matrix products, and at most four dimensions.

The same weights and output as `moenas.models.mobilevitv2_block`, fewer and larger operators. All
tokens are rows ``[T, C]`` (T = images x P pixels of a patch x N patches). Norms are over all
features of an image: their scale and shift are folded into the linear layers after them, also
through the attention, whose scores sum to one. The queries' bias has no effect on a softmax. A file
of this block has no transpose but the two around it; 6-D reshapes fail in LiteRT and NCNN.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from moenas.export.experts import STYLES, Style, folded
from moenas.models.ffn import FFN
from moenas.models.mobilevitv2_block import TokenMajorBlock, TransformerLayer


class ImageNorm(nn.Module):
    """Norm of rows over all features of an image, without scale and shift.

    Args:
        eps: Added to the variance.
        features: Features of an image: P * N * C.
        as_node: Write ONNX's own operator; torch's exporter puts four more around it.
    """

    def __init__(self, eps: float, features: int, as_node: bool) -> None:
        super().__init__()
        self.eps = eps
        self.features = features
        self.as_node = as_node
        self.one: Tensor
        self.zero: Tensor
        self.register_buffer("one", torch.ones(1), persistent=False)
        self.register_buffer("zero", torch.zeros(1), persistent=False)

    def forward(self, x_TC: Tensor) -> Tensor:
        """Map ``[T, C]`` to ``[T, C]``."""
        width = x_TC.shape[-1]
        if not self.as_node:
            return F.layer_norm(x_TC.view(-1, self.features), (self.features,), eps=self.eps).view(
                -1, width
            )
        x = x_TC.view(-1, 1, self.features)
        y: Tensor = torch.onnx.ops.symbolic(
            "InstanceNormalization",
            (x, self.one, self.zero),
            {"epsilon": self.eps},
            dtype=x.dtype,
            shape=x.shape,
        )
        return y.view(-1, width)


class ExportedLayer(nn.Module):
    """Attention and FFN on rows."""

    def __init__(
        self, layer: TransformerLayer, name: str, pixels: int, patches: int, style: Style
    ) -> None:
        super().__init__()
        out = layer.attn.out_proj
        C = out.weight.shape[0]
        self.patches, self.width = patches, C
        as_node = style == "onnx"
        features = pixels * patches * C
        self.norm1 = ImageNorm(layer.norm1.eps, features, as_node)
        self.norm2 = ImageNorm(layer.norm2.eps, features, as_node)
        qkv = layer.attn.qkv_proj
        weight, bias = folded(qkv.weight.flatten(1), qkv.bias, layer.norm1.weight, layer.norm1.bias)
        self.query = nn.Parameter(weight[:1].t().contiguous())
        self.key = _linear(weight[1 : 1 + C], bias[1 : 1 + C])
        self.value = _linear(weight[1 + C :], bias[1 + C :])
        self.out = _linear(*folded(out.weight.flatten(1), out.bias, None, None))
        scale, shift = layer.norm2.weight, layer.norm2.bias
        self.mlp: nn.Module
        if isinstance(layer.mlp, FFN):
            self.mlp = _plain_ffn(layer.mlp, scale, shift)
        else:
            self.mlp = STYLES[style](layer.mlp, name, scale, shift)  # type: ignore[arg-type]

    def forward(self, x_TC: Tensor) -> Tensor:
        """Map ``[T, C]`` to ``[T, C]``."""
        N, C = self.patches, self.width
        z = self.norm1(x_TC)
        scores = torch.matmul(z, self.query).view(-1, 1, N).softmax(dim=-1)
        context = self.key(torch.matmul(scores, z.view(-1, N, C)).view(-1, C)).view(-1, 1, C)
        value = F.relu(self.value(z)).view(-1, N, C) * context
        x_TC = x_TC + self.out(value.view(-1, C))
        y: Tensor = self.mlp(self.norm2(x_TC))
        return x_TC + y


class ExportedBlock(nn.Module):
    """MobileViTV2 block on maps ``[B, C, H, W]`` of one size.

    Args:
        block: The block, its batch norms folded.
        name: Path of the block in the model.
        size: Height and width of the maps that it gets.
        style: How tokens reach their experts.
    """

    def __init__(
        self, block: TokenMajorBlock, name: str, size: tuple[int, int], style: Style
    ) -> None:
        super().__init__()
        self.ph, self.pw = block.patch_size
        self.nh, self.nw = math.ceil(size[0] / self.ph), math.ceil(size[1] / self.pw)
        self.resize = (self.nh * self.ph, self.nw * self.pw) != size
        self.conv_kxk, self.conv_1x1 = block.conv_kxk, block.conv_1x1
        self.width = block.norm.weight.shape[0]
        pixels, patches = self.ph * self.pw, self.nh * self.nw
        self.layers = nn.Sequential(
            *(
                ExportedLayer(layer, f"{name}.transformer.{index}.mlp", pixels, patches, style)
                for index, layer in enumerate(block.transformer)
                if isinstance(layer, TransformerLayer)
            )
        )
        features = pixels * patches * self.width
        self.norm = ImageNorm(block.norm.eps, features, style == "onnx")
        conv: nn.Conv2d = block.conv_proj.conv  # type: ignore[assignment]
        weight, bias = folded(conv.weight.flatten(1), conv.bias, block.norm.weight, block.norm.bias)
        self.proj = nn.Conv2d(self.width, len(weight), 1)
        self.proj.weight = nn.Parameter(weight[:, :, None, None])
        self.proj.bias = nn.Parameter(bias)
        self.act: nn.Module = block.conv_proj.bn  # type: ignore[assignment]

    def forward(self, x: Tensor) -> Tensor:
        """Map ``[B, C, H, W]`` to ``[B, C', H', W']``."""
        nh, nw, ph, pw, C = self.nh, self.nw, self.ph, self.pw, self.width
        if self.resize:
            x = F.interpolate(x, size=(nh * ph, nw * pw), mode="bilinear", align_corners=True)
        x = self.conv_1x1(self.conv_kxk(x)).permute(0, 2, 3, 1).contiguous()
        x = x.view(-1, nh, ph, nw * pw * C).transpose(1, 2).contiguous()
        x = x.view(-1, nh * nw, pw, C).transpose(1, 2).contiguous().view(-1, C)
        x = self.norm(self.layers(x))
        x = x.view(-1, pw, nh * nw, C).transpose(1, 2).contiguous()
        x = x.view(-1, ph, nh, nw * pw * C).transpose(1, 2).contiguous()
        x = x.view(-1, nh * ph, nw * pw, C).permute(0, 3, 1, 2).contiguous()
        y: Tensor = self.act(self.proj(x))
        return y


def _plain_ffn(ffn: FFN, scale: Tensor, shift: Tensor) -> nn.Module:
    first = folded(ffn.fc1.weight.flatten(1), ffn.fc1.bias, scale, shift)
    second = folded(ffn.fc2.weight.flatten(1), ffn.fc2.bias, None, None)
    act = nn.SiLU() if ffn.activation == "silu" else nn.GELU()
    return nn.Sequential(_linear(*first), act, _linear(*second))


def _linear(weight: Tensor, bias: Tensor) -> nn.Linear:
    layer = nn.Linear(weight.shape[1], weight.shape[0])
    layer.weight, layer.bias = nn.Parameter(weight.clone()), nn.Parameter(bias.clone())
    return layer
