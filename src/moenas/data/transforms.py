"""Training augmentations of one image, by name; torchvision does them on uint8 tensors."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torchvision.transforms import v2

from moenas.registry import Registry

Transform = Callable[[torch.Tensor], torch.Tensor]

TRANSFORMS: Registry[Callable[[int], Transform]] = Registry("training transform")
"""Name -> function of the image side that returns the transform."""


def train_transform(name: str, size: int) -> Transform:
    """Return an augmentation: uint8 [3, H, W] -> uint8 [3, size, size].

    It draws from torch's global generator: seed that for repeatable images.

    Args:
        name: ``none``, ``shift``, ``light``, ``crop``, ``autoaugment`` or ``randaugment``.
        size: Side of the result in pixels.

    Raises:
        ConfigError: There is none of this name.
    """
    return TRANSFORMS[name](size)


class ColourJitter:
    """torchvision's `ColorJitter` without hue, in 40 % of its time.

    Brightness, contrast and saturation are linear in the colour, so that one 3 x 3 matrix and an
    offset do all three at once; the rounding and clipping in between are left out.

    Args:
        brightness: Factor is drawn from 1 - this to 1 + this.
        contrast: The same, about the image's mean grey.
        saturation: The same, about each pixel's grey.
    """

    def __init__(self, brightness: float, contrast: float, saturation: float) -> None:
        self.ranges = (brightness, contrast, saturation)
        self._grey = torch.tensor([0.2989, 0.587, 0.114])

    def __call__(self, image: torch.Tensor) -> torch.Tensor:
        """Return the image, uint8 [3, H, W], in other colours."""
        factors = 1 + (2 * torch.rand(3) - 1) * torch.tensor(self.ranges)
        bright, contrast, saturation = factors.tolist()
        pixels = image.reshape(3, -1).float()
        mean = bright * float(self._grey @ pixels.mean(1))
        matrix = saturation * torch.eye(3) + (1 - saturation) * self._grey.expand(3, 3)
        offset = torch.full((3, 1), (1 - contrast) * mean)
        mixed = torch.addmm(offset, matrix, pixels, alpha=bright * contrast)
        return mixed.add_(0.5).clamp_(0, 255).to(torch.uint8).reshape(image.shape)


@TRANSFORMS.register("none")
def _none(size: int) -> Transform:
    transform: Transform = v2.Resize((size, size), antialias=True)
    return transform


@TRANSFORMS.register("shift")
def _shift(size: int) -> Transform:
    # What is usual on CIFAR (He et al., 2016): the label stays right, and a short training copes.
    edge = max(1, size // 16)
    transform: Transform = v2.Compose(
        [
            v2.Resize((size, size), antialias=True),
            v2.RandomCrop(size, padding=edge, padding_mode="edge"),
            v2.RandomHorizontalFlip(),
        ]
    )
    return transform


@TRANSFORMS.register("light")
def _light(size: int) -> Transform:
    # Crops keep 70 % of the image at least: with less, a person at its border is often cut away,
    # and the label would be wrong.
    transform: Transform = v2.Compose(
        [
            v2.RandomResizedCrop((size, size), (0.7, 1.0), (0.85, 1.18), antialias=True),
            v2.RandomHorizontalFlip(),
            ColourJitter(brightness=0.4, contrast=0.25, saturation=0.3),
        ]
    )
    return transform


@TRANSFORMS.register("crop")
def _crop(size: int) -> Transform:
    # The usual crops and flips, as mild as those of "randaugment".
    transform: Transform = v2.Compose(
        [
            v2.RandomResizedCrop((size, size), (0.5, 1.0), (0.75, 1.33), antialias=True),
            v2.RandomHorizontalFlip(),
        ]
    )
    return transform


@TRANSFORMS.register("autoaugment")
def _autoaugment(size: int) -> Transform:
    # As EfficientNet trains: the policy found on ImageNet (Cubuk et al., 2019).
    transform: Transform = v2.Compose([_crop(size), v2.AutoAugment()])
    return transform


@TRANSFORMS.register("randaugment")
def _randaugment(size: int) -> Transform:
    # As MobileViTv2 trains (Mehta and Rastegari, 2022): RandAugment and erasing on top of random
    # crops; the crops are milder than ImageNet's 8 %, for the reason above.
    transform: Transform = v2.Compose(
        [
            v2.RandomResizedCrop((size, size), (0.5, 1.0), (0.75, 1.33), antialias=True),
            v2.RandomHorizontalFlip(),
            v2.RandAugment(num_ops=2, magnitude=9),
            v2.RandomErasing(p=0.25, scale=(0.02, 0.15)),
        ]
    )
    return transform
