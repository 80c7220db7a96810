"""JPEG: what a cheap camera or a thin line leaves of an image."""

from __future__ import annotations

import torch
from torch import Tensor
from torchvision.transforms.v2 import functional

from moenas.data.corruptions.corruption import CORRUPTIONS, Draws

QUALITY = (25, 18, 15, 10, 7)
"""Of JPEG, 1–100 (ImageNet-C)."""


@CORRUPTIONS.register("jpeg")
def jpeg(x: Tensor, severity: int, draws: Draws) -> Tensor:
    """Encode and decode each image."""
    stored = (x * 255).round().to(torch.uint8).cpu()
    decoded = [functional.jpeg(image, quality=QUALITY[severity - 1]) for image in stored]
    return (torch.stack(decoded).float() / 255).to(x.device)
