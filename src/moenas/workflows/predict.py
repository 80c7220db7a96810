"""``moenas predict``: is there a person in these images?"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from moenas.data.images import crop_and_resize, read_image
from moenas.errors import DataError
from moenas.evaluation.predict import probabilities
from moenas.models.storage import load_model
from moenas.runtime import pick_device


@dataclasses.dataclass(frozen=True)
class Answer:
    """What a model says about one image; ``error`` where it could not be read."""

    path: str
    probability: float | None
    person: bool | None
    error: str | None = None


def predict_files(
    checkpoint: Path | str, paths: Sequence[Path | str], *, device: str = "auto"
) -> list[Answer]:
    """Return what a model says about image files.

    Args:
        checkpoint: A model of ours.
        paths: Image files, or folders whose images are taken.
        device: Where to compute.

    Raises:
        CheckpointError: The checkpoint cannot be used.
        DataError: There is no such file, or a folder has no images.
    """
    model, card = load_model(checkpoint)
    files = [file for path in paths for file in _files(Path(path))]
    images, answers = [], {}
    readable = []
    for file in files:
        try:
            images.append(crop_and_resize(read_image(file), None, card.image_size))
            readable.append(file)
        except DataError as error:
            answers[file] = Answer(str(file), None, None, str(error))
    if images:
        seen = probabilities(model, np.stack(images), device=pick_device(device))
        for file, probability in zip(readable, seen.tolist(), strict=True):
            answers[file] = Answer(str(file), probability, probability >= card.threshold)
    return [answers[file] for file in files]


def _files(path: Path) -> list[Path]:
    if path.is_dir():
        found = sorted(p for p in path.iterdir() if p.is_file() and not p.name.startswith("."))
        if not found:
            raise DataError(f"The folder '{path}' has no files.")
        return found
    if not path.exists():
        raise DataError(f"There is no image '{path}'.")
    return [path]
