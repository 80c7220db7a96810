"""Parts of timm's models that follow from the image's size alone, as constants.

A file is for images of one size, so what is computed from the sizes of maps is the same at each
run. Written out at export, it needs no operators that make numbers from sizes, which no device
needs and `onnx_session` does not let pass.
"""

from __future__ import annotations

from typing import Any

import torch
from timm.models import edgenext, xcit
from torch import Tensor, nn

FOURIER = (edgenext.PositionalEncodingFourier, xcit.PositionalEncodingFourier)
"""EdgeNeXt's and XCiT's places: sines of rows and columns through a convolution."""


class FixedPlaces(nn.Module):
    """An encoding of places that was computed before: ``[1, C, H, W]``, the same for all images."""

    def __init__(self, places_1CHW: Tensor) -> None:
        super().__init__()
        self.places: Tensor
        self.register_buffer("places", places_1CHW.detach().clone())

    def forward(self, *shape: Any) -> Tensor:
        """Return ``[B, C, H, W]`` for timm's ``(B, H, W)``, which XCiT passes one by one."""
        batch = shape[0][0] if isinstance(shape[0], tuple) else shape[0]
        return self.places.expand(batch, -1, -1, -1)


class Mean(nn.Module):
    """Average pooling to one pixel; torch's own is traced with strides where channels are last."""

    def forward(self, x: Tensor) -> Tensor:
        """Map ``[B, C, H, W]`` to ``[B, C, 1, 1]``."""
        return x.mean(dim=(2, 3), keepdim=True)


@torch.no_grad()
def fix_places(model: nn.Module, image_size: int) -> None:
    """Replace encodings of places, and pooling to one pixel, in place.

    Args:
        model: In evaluation mode; what it computes stays the same.
        image_size: Side of its images, pixels.
    """
    for name, module in list(model.named_modules()):
        if isinstance(module, nn.AdaptiveAvgPool2d) and module.output_size in (1, (1, 1)):
            model.set_submodule(name, Mean())
    found: dict[str, Tensor] = {}
    handles = []
    for name, module in model.named_modules():
        if isinstance(module, FOURIER):

            def keep(_module: nn.Module, _inputs: Any, places: Tensor, name: str = name) -> None:
                found[name] = places

            handles.append(module.register_forward_hook(keep))
    if handles:
        model(torch.zeros(1, 3, image_size, image_size))
    for handle in handles:
        handle.remove()
    for name, places in found.items():
        model.set_submodule(name, FixedPlaces(places))
