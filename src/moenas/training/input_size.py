"""Images of several sizes in one training: most layers don't mind, and some schemes ask for it."""

from __future__ import annotations

import torch
from torchvision.transforms.v2.functional import resize

from moenas.runtime import generator
from moenas.training.schemes import Scheme

SIDES = (5 / 8, 3 / 4, 1.0, 9 / 8, 5 / 4)
"""MobileViT's 160, 192, 256, 288 and 320 pixels, as shares of 256."""

SMALL = 2 / 3


def resized(
    images_BCHW: torch.Tensor, scheme: Scheme, seed: int, number: int, steps: int
) -> torch.Tensor:
    """Return a step's images in the size that the scheme says.

    Sides are multiples of 32, so that no layer pads.

    Args:
        images_BCHW: Of the full size.
        scheme: The recipe.
        seed: Of the training.
        number: Of the step, from 0.
        steps: Of the training.
    """
    share = 1.0
    if number < scheme.small_share * steps:
        share = SMALL
    elif scheme.multi_scale:
        share = SIDES[generator(seed, "side", number).integers(len(SIDES))]
    full = images_BCHW.shape[-1]
    side = full if share == 1 else max(32, round(full * share / 32) * 32)
    if side == full:
        return images_BCHW
    result: torch.Tensor = resize(images_BCHW, [side, side], antialias=True)
    return result
