"""In which order a training sees its images: another one each epoch, to be taken up anywhere."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch.utils.data import Sampler


class EpochOrder(Sampler[int]):
    """Gives every image once, in an order that the seed alone decides; after `begin`.

    Args:
        images: Number of them.
    """

    def __init__(self, images: int) -> None:
        self._images = images
        self._seed = self._skipped = 0

    def begin(self, seed: int, skipped: int = 0) -> None:
        """Set what is given next: another epoch, without its first images; these are not read."""
        self._seed, self._skipped = seed, skipped

    def __iter__(self) -> Iterator[int]:
        chance = torch.Generator().manual_seed(self._seed)
        order: list[int] = torch.randperm(self._images, generator=chance).tolist()
        return iter(order[self._skipped :])

    def __len__(self) -> int:
        return self._images - self._skipped
