"""``moenas predict``: is there a person in these images?"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from moenas.analysis.routes import switch_layers
from moenas.data.images import crop_and_resize, read_image
from moenas.errors import DataError
from moenas.evaluation.predict import probabilities
from moenas.models.storage import load_model
from moenas.runtime import pick_device
from moenas.workflows.explain import draw_paths


@dataclasses.dataclass(frozen=True)
class Answer:
    """What a model says about one image; ``error`` where it could not be read.

    ``explanation``: the picture of its path, where one was asked for.
    """

    path: str
    probability: float | None
    person: bool | None
    error: str | None = None
    explanation: str | None = None

    @property
    def words(self) -> str:
        """The answer as people read it."""
        if self.person is None:
            return "unreadable"
        return "person" if self.person else "no person"


def predict_files(
    checkpoint: Path | str,
    paths: Sequence[Path | str],
    *,
    device: str = "auto",
    explain: Path | None = None,
) -> list[Answer]:
    """Return what a model says about image files.

    Args:
        checkpoint: A model of ours.
        paths: Image files, or folders whose images are taken.
        device: Where to compute.
        explain: Folder for a picture of each image's path through the experts.

    Raises:
        CheckpointError: The checkpoint cannot be used.
        DataError: There is no such file, or a folder has no images.
        ModelError: Paths are asked for, but the model has no experts.
    """
    model, card = load_model(checkpoint)
    if explain is not None:
        switch_layers(model)  # refuses a dense model before images are read
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
        where, stack = pick_device(device), np.stack(images)
        seen = probabilities(model, stack, device=where)
        for file, probability in zip(readable, seen.tolist(), strict=True):
            answers[file] = Answer(str(file), probability, probability >= card.threshold)
        if explain is not None:
            found = [answers[file] for file in readable]
            titles = [f"{Path(a.path).name}: {a.words} ({a.probability:.3f})" for a in found]
            names = [file.stem for file in readable]
            pictures = draw_paths(model, stack, titles, names, explain, device=where)
            for file, picture in zip(readable, pictures, strict=True):
                answers[file] = dataclasses.replace(answers[file], explanation=str(picture))
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
