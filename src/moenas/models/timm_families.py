"""The families of timm models that are converted by one rule, as data.

`timm_base` finds the FFNs by itself. An entry says which names belong to a family, what timm must
be told so that images of any size pass, and what must be exchanged in the model, if anything.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Mapping
from typing import Any

import timm
from torch import nn

from moenas.models.efficientformer import allow_smaller_images


@dataclasses.dataclass(frozen=True)
class Family:
    """Models of timm that differ in width and depth alone.

    Attributes:
        name: What people call it.
        names: Regular expression of timm's names, without pretraining tags.
        options: Further arguments of ``timm.create_model``; they change no parameter.
        adapt: Changes a fresh model in place; names, shapes and output must stay timm's.
    """

    name: str
    names: str
    options: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    adapt: Callable[[nn.Module], None] | None = None

    def has(self, name: str) -> bool:
        """Whether that is the timm name of one of its models."""
        return re.fullmatch(self.names, name) is not None and timm.is_model(name)


ANY_SIZE = {"dynamic_img_size": True, "dynamic_img_pad": True}
"""Position embeddings are resampled to the image's patches; at the native size nothing changes."""

TIMM_FAMILIES = (
    Family("MobileViT", r"mobilevit_\w+"),
    Family("ViT", r"vit_[a-z]+_patch\d+_\d+", ANY_SIZE),
    Family("DeiT", r"deit3?_[a-z]+(_distilled)?_patch\d+_\d+", ANY_SIZE),
    Family("ConvNeXt", r"convnext_\w+"),
    Family("EfficientFormer", r"efficientformer_\w+", adapt=allow_smaller_images),
    Family("EdgeNeXt", r"edgenext_\w+"),
    Family("XCiT", r"xcit_\w+"),
)


def timm_names() -> list[str]:
    """Timm's names of the models of all families, for messages; few have no FFN of our kind."""
    return [name for name in timm.list_models() if any(f.has(name) for f in TIMM_FAMILIES)]
