"""Add a training scheme and an augmentation, and train with them.

The images are made up (a bright half, left or right), so that three epochs are enough.
"""

from __future__ import annotations

import dataclasses
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

import moenas
from moenas.data.dataset import ImageDataset
from moenas.data.transforms import TRANSFORMS, train_transform
from moenas.runs import ModelFolder
from moenas.training.loop import train
from moenas.training.schemes import SCHEMES


@TRANSFORMS.register("upside_down")
def upside_down(size: int) -> Callable[[torch.Tensor], torch.Tensor]:
    """Turn half of the images upside down; a transform maps uint8 [3, H, W] to [3, size, size]."""
    return lambda image: image.flip(1) if torch.rand(()) < 0.5 else image


SCHEMES.add(
    "sprint",
    dataclasses.replace(
        SCHEMES["mobilevitv2"],
        name="sprint",
        epochs=3,
        batch_size=16,
        augmentation="upside_down",
    ),
)


def made_up(n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return images [n, 32, 32, 3] and labels [n]: 1 where the left half is brighter."""
    rng = np.random.default_rng(seed)
    images = rng.integers(0, 120, (n, 32, 32, 3), dtype=np.uint8)
    labels = rng.integers(0, 2, n)
    for image, label in zip(images, labels, strict=True):
        half = slice(0, 16) if label else slice(16, 32)
        image[:, half] += 100
    return images, labels


torch.set_num_threads(1)
scheme = SCHEMES["sprint"]
images, labels = made_up(192, seed=0)
with tempfile.TemporaryDirectory() as name:
    result = train(
        moenas.build_model("mobilevitv2_050", (1, 1, 1, 1, 1, 1, 1, 1, 2), seed=0),
        ImageDataset(images, labels, train_transform(scheme.augmentation, 32)),
        ImageDataset(*made_up(64, seed=1)),
        scheme,
        folder=ModelFolder(Path(name)),
        device=torch.device("cpu"),
    )
for record in result.history:
    print(f"epoch {record.epoch}: loss {record.loss:.3f}, accuracy {record.accuracy_val:.3f}")
config = moenas.SearchConfig(scheme="sprint")
print(f"in a search: {config.training(20, tuning=True).augmentation}, at half the learning rate")
