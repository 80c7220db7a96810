"""The smallest models of each family: timm's own with fewer and narrower layers, for quick tests.

Import this and `moenas.models.bases.get_base` knows them; nothing is built before.
"""

from __future__ import annotations

import dataclasses
from typing import Any

from moenas.models.base_model import BaseModel
from moenas.models.bases import FAMILIES
from moenas.models.timm_base import TimmBase
from moenas.models.timm_families import TIMM_FAMILIES

VIT = {"embed_dim": 32, "depth": 3, "num_heads": 2}
STAGES = {"depths": (1, 1, 2, 1), "dims": (8, 16, 24, 32)}
SMALL: dict[str, tuple[str, dict[str, Any]]] = {
    "small_mobilevit": ("mobilevit_xxs", {}),
    "small_vit": ("vit_tiny_patch16_224", VIT),
    "small_deit": ("deit_tiny_distilled_patch16_224", VIT),
    "small_convnext_of_convolutions": ("convnext_zepto_rms", STAGES),
    "small_convnext_of_linear_layers": ("convnext_tiny", STAGES),
    "small_efficientformer": (
        "efficientformer_l3",
        {"depths": (1, 1, 1, 3), "embed_dims": (8, 16, 24, 32), "num_vit": 2},
    ),
    "small_edgenext": ("edgenext_xx_small", {"dims": (8, 16, 24, 32), "depths": (1, 1, 2, 2)}),
    "small_xcit": ("xcit_nano_12_p16_224", {"embed_dim": 32, "depth": 2, "num_heads": 2}),
}
"""timm's name, and what is smaller."""


def small_base(name: str) -> BaseModel | None:
    """One of `SMALL`."""
    if name not in SMALL:
        return None
    timm_name, changes = SMALL[name]
    family = next(family for family in TIMM_FAMILIES if family.has(timm_name))
    family = dataclasses.replace(family, options={**family.options, **changes})
    return TimmBase(name, family, timm_name)


FAMILIES.append(small_base)
