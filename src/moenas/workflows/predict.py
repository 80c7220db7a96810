"""``moenas predict``: is there a person in these images?"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from moenas.analysis.routes import switch_layers
from moenas.data.images import crop_and_resize, read_image
from moenas.errors import CheckpointError, DataError, ModelError
from moenas.evaluation.predict import probabilities
from moenas.export.backends import read_exported
from moenas.models.storage import load_model
from moenas.runs import find_checkpoint
from moenas.runtime import pick_device
from moenas.workflows.explain import draw_paths

CHUNK = 256
"""Images that are in memory at once: a multiple of what models answer at once, on any device."""


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
        checkpoint: A model of ours, or a file that was exported from one.
        paths: Image files, or folders whose images are taken.
        device: Where to compute; an exported file runs on the CPU.
        explain: Folder for a picture of each image's path through the experts.

    Raises:
        CheckpointError: The checkpoint cannot be used.
        ConfigError: It is an exported file that only other programs run.
        MissingDependencyError: It is an exported file, and its format's extra is not installed.
        DataError: There is no such file, or a folder has no images.
        ModelError: Paths are asked for, but the model has no experts.
    """
    where = pick_device(device)
    checkpoint = find_checkpoint(Path(checkpoint))
    model = _open(checkpoint, where)
    if explain is not None:
        switch_layers(model.network_of(checkpoint))  # refuses a dense model before images are read
    files = [file for path in paths for file in _files(Path(path))]
    answers: dict[Path, Answer] = {}
    pictures: list[Path] = []
    for readable, images in _chunks(files, model.image_size, answers):
        for file, probability in zip(readable, model.probabilities(images).tolist(), strict=True):
            answers[file] = Answer(str(file), probability, probability >= model.threshold)
        if explain is not None:
            found = [answers[file] for file in readable]
            titles = [f"{Path(a.path).name}: {a.words} ({a.probability:.3f})" for a in found]
            names = [file.stem for file in readable]
            network = model.network_of(checkpoint)
            drawn = draw_paths(
                network, images, titles, names, explain, device=where, taken=pictures
            )
            pictures += drawn
            for file, picture in zip(readable, drawn, strict=True):
                answers[file] = dataclasses.replace(answers[file], explanation=str(picture))
    return [answers[file] for file in files]


def _chunks(
    files: Sequence[Path], size: int, unreadable: dict[Path, Answer]
) -> Iterator[tuple[list[Path], npt.NDArray[np.uint8]]]:
    """Up to `CHUNK` files at a time and their images ``[n, size, size, 3]``.

    Args:
        files: All files.
        size: Side of the images.
        unreadable: Gets the answer of each file that cannot be read.
    """
    images: list[npt.NDArray[np.uint8]] = []
    readable: list[Path] = []
    for file in files:
        try:
            images.append(crop_and_resize(read_image(file), None, size))
            readable.append(file)
        except DataError as error:
            unreadable[file] = Answer(str(file), None, None, str(error))
        if len(images) == CHUNK:
            yield readable, np.stack(images)
            images, readable = [], []
    if images:
        yield readable, np.stack(images)


@dataclasses.dataclass(frozen=True)
class _Opened:
    """What answers: a model of ours, or an exported file, of which there is no ``network``."""

    image_size: int
    threshold: float
    probabilities: Callable[[npt.NDArray[np.uint8]], npt.NDArray[np.float64]]
    network: nn.Module | None = None

    def network_of(self, path: Path | str) -> nn.Module:
        """The model, whose tokens can be followed."""
        if self.network is None:
            raise ModelError(
                f"'{path}' is an exported file: paths can be drawn of its checkpoint, beside it."
            )
        return self.network


def _open(path: Path, device: torch.device) -> _Opened:
    exported = read_exported(path)
    if exported is not None:
        details = exported.details
        return _Opened(details.image_size, details.threshold, exported.probabilities)
    model, card = load_model(path)
    look = functools.partial(_finite, path, model, device)
    return _Opened(card.image_size, card.threshold, look, model)


def _finite(
    path: Path, model: nn.Module, device: torch.device, images: npt.NDArray[np.uint8]
) -> npt.NDArray[np.float64]:
    """A model's probabilities; one whose training went astray may give none, which is no answer."""
    found = probabilities(model, images, device=device)
    if not np.isfinite(found).all():
        raise CheckpointError(
            f"'{path}' cannot be used: it answers with probabilities that are no numbers."
        )
    return found


def _files(path: Path) -> list[Path]:
    if path.is_dir():
        found = sorted(p for p in path.iterdir() if p.is_file() and not p.name.startswith("."))
        if not found:
            raise DataError(f"The folder '{path}' has no files.")
        return found
    if not path.exists():
        raise DataError(f"There is no image '{path}'.")
    return [path]
