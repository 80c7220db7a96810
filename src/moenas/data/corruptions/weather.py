"""Fog: a bright, uneven veil."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from moenas.data.corruptions.corruption import CORRUPTIONS, Draws

FOG = (1.5, 2.0, 2.5, 3.0, 4.0)
"""Thickness: how bright clouds are, as a multiple of white. ImageNet-C's are 1.5, 2, 2.5, 2.5, 3
with ever finer clouds; finer ones made severity 4 milder than 3 here, so that they stay alike."""

_DECAY = 2.0
"""By what each finer layer of clouds is weaker (ImageNet-C, severity 1)."""

_LAYERS = 6
"""Of clouds, from 2 to 64 cells along a side."""


@CORRUPTIONS.register("fog")
def fog(x: Tensor, severity: int, draws: Draws) -> Tensor:
    """Add clouds and darken to the old maximum.

    ImageNet-C draws its clouds by midpoint displacement; these are layers of smooth noise.
    """
    thickness = FOG[severity - 1]
    clouds = torch.zeros(len(x), 1, *x.shape[2:])
    for layer in range(_LAYERS):
        cells = 2 ** (layer + 1)
        coarse = draws.normal(1, cells, cells)
        smooth = functional.interpolate(coarse, x.shape[2:], mode="bicubic", align_corners=True)
        clouds += smooth / _DECAY**layer
    low, high = clouds.amin((2, 3), keepdim=True), clouds.amax((2, 3), keepdim=True)
    clouds = ((clouds - low) / (high - low).clamp(min=1e-6)).to(x.device)
    most = x.amax(dim=(1, 2, 3), keepdim=True)
    return (x + thickness * clouds) * most / (most + thickness)
