"""Where in the image a token comes from: each base orders its tokens in a way of its own."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
from timm.models.mobilevit import MobileVitBlock
from timm.models.vision_transformer import VisionTransformer
from timm.models.xcit import ClassAttentionBlock
from torch import nn

from moenas.errors import ModelError
from moenas.models.mobilevitv2_block import TokenMajorBlock

Places = npt.NDArray[np.int64]


def token_places(model: nn.Module, layer: str, tokens: int) -> Places | None:
    """Return the index of the token at each position of a square image's feature map.

    MobileViT and MobileViTV2 unfold the map into patches of 2 x 2: their tokens go by the place in
    the patch first, then by the patch. A Vision Transformer puts its class token (and registers)
    before the others. All others go row by row.

    Args:
        model: A model of ours.
        layer: Module name of a Switch FFN.
        tokens: How many tokens of one image it gets.

    Returns:
        [side, side]; None where the layer sees no positions but the class token alone.

    Raises:
        ModelError: The tokens are those of no square map.
    """
    parents = [model.get_submodule(layer.rsplit(".", n)[0]) for n in range(1, layer.count(".") + 1)]
    if any(isinstance(parent, ClassAttentionBlock) for parent in parents):
        return None
    for block in parents:
        if isinstance(block, TokenMajorBlock | MobileVitBlock):
            return _unfolded(tokens, *block.patch_size)
    first = model.num_prefix_tokens if isinstance(model, VisionTransformer) else 0
    side = _side(tokens - first, tokens)
    return first + np.arange(side * side).reshape(side, side)


def _unfolded(tokens: int, height: int, width: int) -> Places:
    side = _side(tokens // (height * width), tokens)
    order = np.arange(tokens).reshape(height, width, side, side).transpose(2, 0, 3, 1)
    return order.reshape(side * height, side * width)


def _side(positions: int, tokens: int) -> int:
    side = math.isqrt(max(0, positions))
    if side < 1 or side * side != positions:
        raise ModelError(f"{tokens} tokens are not those of a square image's feature map.")
    return side
