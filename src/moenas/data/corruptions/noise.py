"""Noise of a sensor: the same everywhere in the image."""

from __future__ import annotations

from torch import Tensor

from moenas.data.corruptions.corruption import CORRUPTIONS, Draws

GAUSSIAN = (0.08, 0.12, 0.18, 0.26, 0.38)
"""Standard deviation, of values 0–1 (ImageNet-C)."""


@CORRUPTIONS.register("gaussian_noise")
def gaussian_noise(x: Tensor, severity: int, draws: Draws) -> Tensor:
    """Add normal noise to each value."""
    return x + GAUSSIAN[severity - 1] * draws.normal(*x.shape[1:]).to(x.device)
