"""What a corruption is, the registry of all, and how one is applied to a batch."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from moenas.errors import ConfigError, DataError
from moenas.registry import Registry
from moenas.runtime import derived_seed

SEVERITIES = (1, 2, 3, 4, 5)
"""From mild to strong; 0 is the image as it is."""

REFERENCE_SIZE = 224
"""Side in pixels of the images that ImageNet-C states its blurs for."""


class Draws:
    """Random numbers of each image of a batch, from a generator of its own.

    An image's numbers depend on the seed, the corruption and its key alone: not on the severity,
    so that five severities are five strengths of the same noise, nor on the rest of the batch.

    Args:
        name: Of the corruption.
        keys: [B] one for each image.
        seed: Of all.
    """

    def __init__(self, name: str, keys: Sequence[str | int], seed: int) -> None:
        self._generators = [
            torch.Generator().manual_seed(derived_seed(seed, "corruption", name, key))
            for key in keys
        ]

    def normal(self, *shape: int) -> Tensor:
        """[B, *shape] standard normal numbers."""
        return torch.stack([torch.randn(shape, generator=g) for g in self._generators])

    def uniform(self, low: float, high: float) -> Tensor:
        """[B] numbers between two."""
        unit = torch.stack([torch.rand((), generator=g) for g in self._generators])
        return low + (high - low) * unit


Corruption = Callable[[Tensor, int, Draws], Tensor]
"""From images, float32 [B, 3, H, W] in 0–1, and a severity 1–5 to images of the same shape; values
beyond 0–1 are clipped afterwards."""

CORRUPTIONS: Registry[Corruption] = Registry("corruption")
"""All corruptions by name."""


@torch.no_grad()
def corrupt(
    images: Tensor, name: str, severity: int, keys: Sequence[str | int], seed: int = 0
) -> Tensor:
    """Return images as they are under a corruption; the input is not changed.

    Args:
        images: uint8 [B, 3, H, W], on any device.
        name: One of `CORRUPTIONS`.
        severity: 0 (as it is) to 5.
        keys: [B] names of the images: same key, same random numbers. Give images that differ in
            nothing but a group (a scene in ten skin tones) one key.
        seed: Of all random numbers.

    Raises:
        ConfigError: There is no such corruption or severity.
        DataError: The images have another type or shape, or there are not as many keys.
    """
    corruption = CORRUPTIONS[name]
    if severity not in (0, *SEVERITIES):
        raise ConfigError(f"severity is {severity}; it is 0 (none) to {SEVERITIES[-1]}.")
    if images.dtype != torch.uint8 or images.ndim != 4 or images.shape[1] != 3:
        raise DataError(
            f"corrupt() takes uint8 [B, 3, H, W], not {images.dtype} {list(images.shape)}."
        )
    if len(keys) != len(images):
        raise DataError(f"corrupt() got {len(images)} images but {len(keys)} keys.")
    if severity == 0 or not len(images):
        return images.clone()
    changed = corruption(images.float() / 255, severity, Draws(name, keys, seed))
    return changed.mul(255).round_().clamp_(0, 255).to(torch.uint8)
