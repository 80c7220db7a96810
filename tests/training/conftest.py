from __future__ import annotations

import dataclasses

import numpy as np
import numpy.typing as npt
import pytest

from moenas.training.schemes import SCHEMES, Scheme


@pytest.fixture(scope="session")
def pictures() -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]:
    """Twenty-four images of 32 x 32 pixels: a person is a bright upper half."""
    rng = np.random.default_rng(0)
    labels = np.arange(24) % 2
    images = rng.integers(0, 90, size=(24, 32, 32, 3), dtype=np.uint8)
    images[labels == 1, :16] += 120
    return images, labels


@pytest.fixture
def scheme() -> Scheme:
    return dataclasses.replace(
        SCHEMES["mobilevitv2"],
        epochs=3,
        batch_size=8,
        learning_rate=1e-3,
        final_learning_rate=1e-4,
        augmentation="light",
    )
