from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from moenas.data.manifest import Manifest


@pytest.fixture
def image_folder(tmp_path: Path) -> Path:
    """A folder with twelve distinct images 00.png .. 11.png of 20 x 10 pixels."""
    folder = tmp_path / "images"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for number in range(12):
        pixels = rng.integers(0, 256, size=(10, 20, 3), dtype=np.uint8)
        Image.fromarray(pixels, "RGB").save(folder / f"{number:02d}.png")
    return folder


@pytest.fixture
def valid_frame() -> pd.DataFrame:
    """A table over `image_folder` with both classes and groups 1 and 2 wherever needed."""
    splits = ["train", "val", "search", "report"]
    return pd.DataFrame(
        {
            "path": [f"{number:02d}.png" for number in range(12)],
            "label": [1, 1, 0] * 4,
            "split": [split for split in splits for _ in range(3)],
            "group": pd.array([1, 2, None] * 4, dtype="Int16"),
        }
    )


@pytest.fixture
def manifest(image_folder: Path, valid_frame: pd.DataFrame) -> Manifest:
    return Manifest(valid_frame, image_folder)
