"""Blur: out of focus, or moved while the shutter was open.

Lengths are ImageNet-C's at 224 pixels and scale with the image's shorter side.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional

from moenas.data.corruptions.corruption import CORRUPTIONS, REFERENCE_SIZE, Draws

DEFOCUS = (3.0, 4.0, 6.0, 8.0, 10.0)
"""Radius of the disk that a point becomes, in pixels at 224 (ImageNet-C)."""

MOTION = ((10.0, 3.0), (15.0, 5.0), (15.0, 8.0), (15.0, 12.0), (20.0, 15.0))
"""Half length of the streak and standard deviation of its weights (ImageNet-C)."""

_ANGLE = math.pi / 4
"""Streaks are within ± this of horizontal."""

_SAMPLES = 8
"""Points of a streak for each pixel of its length."""


@CORRUPTIONS.register("defocus_blur")
def defocus_blur(x: Tensor, severity: int, draws: Draws) -> Tensor:
    """Average over a disk with a soft edge of one pixel."""
    radius = DEFOCUS[severity - 1] * _scale(x)
    reach = math.ceil(radius)
    at = torch.arange(-reach, reach + 1.0)
    distance = torch.hypot(at[:, None], at[None, :])
    disk = (radius + 0.5 - distance).clamp(0, 1)
    return _filter(x, disk.expand(len(x), -1, -1))


@CORRUPTIONS.register("motion_blur")
def motion_blur(x: Tensor, severity: int, draws: Draws) -> Tensor:
    """Average along a straight streak, most in its middle; each image has its own direction."""
    half, deviation = (length * _scale(x) for length in MOTION[severity - 1])
    reach = math.ceil(half)
    angle = draws.uniform(-_ANGLE, _ANGLE)
    along = torch.linspace(-half, half, 2 * _SAMPLES * reach + 1)
    weight = torch.exp(-(along**2) / (2 * deviation**2))
    at = torch.arange(-reach, reach + 1.0)
    # A point between pixels counts for its neighbours by nearness.
    row, column = angle.sin()[:, None] * along, angle.cos()[:, None] * along
    near_row = (1 - (at[None, :, None] - row[:, None]).abs()).clamp(min=0)
    near_column = (1 - (at[None, :, None] - column[:, None]).abs()).clamp(min=0)
    return _filter(x, torch.einsum("brs,bcs,s->brc", near_row, near_column, weight))


def _scale(x: Tensor) -> float:
    return min(x.shape[2:]) / REFERENCE_SIZE


def _filter(x: Tensor, kernels: Tensor) -> Tensor:
    """Filter each image with its kernel [B, k, k], normalised; edges are repeated."""
    batch, channels, height, width = x.shape
    kernels = (kernels / kernels.sum((1, 2), keepdim=True)).to(x.device)
    reach = kernels.shape[-1] // 2
    padded = functional.pad(x, (reach,) * 4, mode="replicate")
    flat = padded.reshape(1, batch * channels, *padded.shape[2:])
    weight = kernels.repeat_interleave(channels, dim=0).unsqueeze(1)
    blurred = functional.conv2d(flat, weight, groups=batch * channels)
    return blurred.reshape(batch, channels, height, width)
