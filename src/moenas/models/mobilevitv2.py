"""MobileViTV2 of any width as a base model: its nine FFNs and its exact cost."""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Iterator
from typing import Any

import timm
import torch
from timm.models import ByoBlockCfg, ByobNet, ByoModelCfg
from timm.models.mobilevit import MobileVitV2Block
from torch import nn

from moenas.models.base_model import BaseModel, FFNLayer
from moenas.models.mobilevitv2_block import SiLU, TokenMajorBlock

STAGES = ((64, 1, 1, 0), (128, 2, 2, 0), (256, 1, 2, 2), (384, 1, 2, 4), (512, 1, 2, 3))
"""Per stage: channels at width 1, inverted residual blocks, stride, transformer layers."""
STEM = 32
EXPANSION = 2
PATCH = 2
NAME = re.compile(r"mobilevitv2_(\d{3})")
WIDTHS = range(25, 401)
"""Widths in percent that can be built; timm has names and weights for 50, 75, ..., 200."""


@dataclasses.dataclass(frozen=True)
class Op:
    """One operation's cost: parameters and multiply-accumulates of one image."""

    parameters: int
    macs: int


class MobileViTV2(BaseModel):
    """``mobilevitv2_WWW``, WWW = width in percent: FFNs 1-2, 3-6 and 7-9 in stages 3, 4 and 5."""

    def __init__(self, percent: int) -> None:
        self.width = percent / 100
        name = f"mobilevitv2_{percent:03d}"
        layers = []
        for stage, (channels, _, _, depth) in enumerate(STAGES):
            dim = multiple_of_8(self._channels(channels) * 0.5)
            layers += [
                FFNLayer(f"stages.{stage}.1.transformer.{i}.mlp", dim, 2 * dim)
                for i in range(depth)
            ]
        super().__init__(name, tuple(layers), pretrained=timm.is_model(name))

    @classmethod
    def from_name(cls, name: str) -> MobileViTV2 | None:
        """Return the base model of that name, None when it is not of this family."""
        match = NAME.fullmatch(name)
        return cls(int(match[1])) if match and int(match[1]) in WIDTHS else None

    @property
    def wider(self) -> str | None:
        """A quarter of the full width more, the step between timm's widths."""
        percent = round(100 * self.width) + 25
        return f"mobilevitv2_{percent:03d}" if percent in WIDTHS else None

    @property
    def pooled_width(self) -> int:
        """Channels of the last stage."""
        return self._channels(STAGES[-1][0])

    def create(self, num_classes: int) -> nn.Module:
        """Return the dense model with token-major blocks, initialised as timm does."""
        if self.pretrained:  # timm's own entry also carries its preprocessing configuration
            model: nn.Module = timm.create_model(self.name, num_classes=num_classes)
        else:
            model = ByobNet(self._timm_config(), num_classes=num_classes)
        return make_token_major(model)

    def dense_parameters(self, num_classes: int) -> int:
        """Parameters of the dense model."""
        return sum(op.parameters for op in self._operations(64, num_classes))

    def dense_macs(self, image_size: int, num_classes: int) -> int:
        """Multiply-accumulates of convolutions and matrix products, one image."""
        return sum(op.macs for op in self._operations(image_size, num_classes))

    def tokens(self, image_size: int) -> tuple[int, ...]:
        """Tokens of one image in each layer: positions of the map, rounded up to patches."""
        counts: list[int] = []
        side = math.ceil(image_size / 2)
        for _, _, stride, depth in STAGES:
            side = math.ceil(side / stride)
            if depth:
                side = math.ceil(side / PATCH) * PATCH
            counts += [side * side] * depth
        return tuple(counts)

    def _channels(self, channels: int) -> int:
        return multiple_of_8(int(channels * self.width))

    def _timm_config(self) -> ByoModelCfg:
        def residual(channels: int, stride: int, repeats: int) -> ByoBlockCfg:
            kwargs = {"bottle_in": True, "linear_out": True}
            return ByoBlockCfg(
                "bottle", d=repeats, c=channels, s=stride, gs=1, br=EXPANSION, block_kwargs=kwargs
            )

        stages: list[ByoBlockCfg | tuple[ByoBlockCfg, ...]] = []
        for at_width_1, repeats, stride, depth in STAGES:
            channels = int(at_width_1 * self.width)
            block = residual(channels, stride, repeats)
            kwargs = {"transformer_depth": depth, "patch_size": PATCH}
            mobile = ByoBlockCfg(
                "mobilevit2", d=1, c=channels, s=1, br=0.5, gs=1, block_kwargs=kwargs
            )
            stages.append((block, mobile) if depth else block)
        return ByoModelCfg(
            blocks=tuple(stages),
            stem_chs=int(STEM * self.width),
            stem_type="3x3",
            stem_pool="",
            downsample="",
            act_layer="silu",
        )

    def _operations(self, image_size: int, num_classes: int) -> Iterator[Op]:
        """Yield the cost of every operation that has parameters, in order."""
        side = math.ceil(image_size / 2)
        channels = int(STEM * self.width)
        yield conv(3, channels, 3, side)
        for at_width_1, repeats, stride, depth in STAGES:
            out = self._channels(at_width_1)
            for index in range(repeats):
                middle = multiple_of_8(channels * EXPANSION)
                yield conv(channels, middle, 1, side)
                side = math.ceil(side / (stride if index == 0 else 1))
                yield conv(middle, middle, 3, side, groups=middle)
                yield conv(middle, out, 1, side)
                channels = out
            if depth:
                side = math.ceil(side / PATCH) * PATCH
                yield from self._mobile_block(channels, depth, side)
        yield linear(channels, num_classes, 1)

    def _mobile_block(self, channels: int, depth: int, side: int) -> Iterator[Op]:
        dim = multiple_of_8(channels * 0.5)
        tokens = side * side
        positions = PATCH * PATCH  # one context vector for each
        yield conv(channels, channels, 3, side, groups=channels)
        yield conv(channels, dim, 1, side, norm=False)
        for _ in range(depth):
            yield Op(4 * dim, 0)  # two norms
            yield linear(dim, 1, tokens)  # query
            yield Op(0, tokens * dim)  # sum of tokens weighted with the scores
            yield linear(dim, dim, positions)  # key of that sum
            yield linear(dim, dim, tokens)  # value
            yield linear(dim, dim, tokens)  # out
            yield linear(dim, 2 * dim, tokens)
            yield linear(2 * dim, dim, tokens)
        yield Op(2 * dim, 0)
        yield conv(dim, channels, 1, side)


def multiple_of_8(channels: float) -> int:
    """Round as the MobileNets do: to the nearest multiple of 8, never down by more than a tenth."""
    rounded = max(8, int(channels + 4) // 8 * 8)
    return rounded + 8 if rounded < 0.9 * channels else rounded


def conv(cin: int, cout: int, kernel: int, side: int, groups: int = 1, norm: bool = True) -> Op:
    """Cost of a convolution without bias, with its batch norm, giving a map of ``side`` x side."""
    weights = cin // groups * cout * kernel * kernel
    return Op(weights + 2 * cout * norm, weights * side * side)


def linear(cin: int, cout: int, rows: int) -> Op:
    """Cost of a linear layer with bias on ``rows`` vectors."""
    return Op(cin * cout + cout, cin * cout * rows)


def make_token_major(model: Any) -> nn.Module:
    """Replace timm's MobileViTV2 blocks in place; weights, names and output stay the same."""
    for module in list(model.modules()):
        for name, child in module.named_children():
            if isinstance(child, nn.SiLU):
                setattr(module, name, SiLU())
    for stage in model.stages:
        for name, block in stage.named_children():
            if isinstance(block, MobileVitV2Block):
                setattr(stage, name, TokenMajorBlock(block))
    result: nn.Module = model.to(memory_format=torch.channels_last)
    return result
