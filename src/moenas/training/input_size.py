"""Images of several sizes in one training: most layers don't mind, and some schemes ask for it."""

from __future__ import annotations

import dataclasses

import torch
from torchvision.transforms.v2.functional import resize

from moenas.errors import ModelError
from moenas.models.zoo import get_model
from moenas.runtime import generator
from moenas.training.schemes import Scheme

SIDES = (5 / 8, 3 / 4, 1.0, 9 / 8, 5 / 4)
"""MobileViT's 160, 192, 256, 288 and 320 pixels, as shares of 256."""

SMALL = 2 / 3


def suited(scheme: Scheme, base: str, image_size: int) -> Scheme:
    """Return the scheme, with images of the full size alone where the model takes no others.

    Args:
        scheme: The recipe.
        base: Name of the model.
        image_size: The full side.
    """
    shares = [*SIDES] * scheme.multi_scale + [SMALL] * (scheme.small_share > 0)
    try:
        for side in sorted({_side(image_size, share) for share in shares}):
            get_model(base).dense_macs(side, 2)
    except ModelError:
        return dataclasses.replace(scheme, multi_scale=False, small_share=0.0)
    return scheme


def _side(full: int, share: float) -> int:
    return full if share == 1 else max(32, round(full * share / 32) * 32)


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
    side = _side(full, share)
    if side == full:
        return images_BCHW
    result: torch.Tensor = resize(images_BCHW, [side, side], antialias=True)
    return result
