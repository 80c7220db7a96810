"""Tones: too bright, or with little contrast."""

from __future__ import annotations

import torch
from torch import Tensor

from moenas.data.corruptions.corruption import CORRUPTIONS, Draws

BRIGHTNESS = (0.1, 0.2, 0.3, 0.4, 0.5)
"""Added to the value of HSV (ImageNet-C)."""

CONTRAST = (0.4, 0.3, 0.2, 0.1, 0.05)
"""What is left of the distance to the channel's mean (ImageNet-C)."""


@CORRUPTIONS.register("brightness")
def brightness(x: Tensor, severity: int, draws: Draws) -> Tensor:
    """Raise HSV's value; hue and saturation stay, and black becomes grey."""
    value = x.amax(dim=1, keepdim=True)
    raised = (value + BRIGHTNESS[severity - 1]).clamp(max=1)
    return torch.where(value > 0, x * (raised / value.clamp(min=1e-6)), raised)


@CORRUPTIONS.register("contrast")
def contrast(x: Tensor, severity: int, draws: Draws) -> Tensor:
    """Move all values towards the image's mean of their channel."""
    mean = x.mean(dim=(2, 3), keepdim=True)
    return mean + CONTRAST[severity - 1] * (x - mean)
