"""The images that a benchmark of formats shows to models, and the files that are made for it."""

from __future__ import annotations

import contextlib
import functools
import logging
import tempfile
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from moenas.data.images import crop_and_resize, read_image
from moenas.data.manifest import Manifest
from moenas.errors import MoENASError
from moenas.export.backends import BACKENDS, Source
from moenas.export.formats import FORMATS
from moenas.export.measuring import CHECKPOINT
from moenas.export.metadata import Details
from moenas.models.architecture import Architecture
from moenas.models.builder import build_model
from moenas.models.storage import load_model, save_model
from moenas.runs import run_of
from moenas.runtime import generator
from moenas.workflows.benchmark_entrants import Entrant

IMAGES = 32
"""Training images of the models' run that are run in turn; int8 takes its ranges from them."""


class Images:
    """What models are shown: training images of the run that they come from, or noise."""

    def __init__(self, paths: Sequence[Path], batch: int, folder: Path) -> None:
        found = (run_of(path if path.is_file() else path / "model") for path in paths)
        run = next((each for each in found if each is not None), None)
        self.batch, self.folder = batch, folder
        self.manifest = Manifest.load(run.manifest).split("train") if run else None
        self.words = "noise"

    @functools.cache  # noqa: B019 - lives as long as one benchmark
    def of(self, size: int) -> npt.NDArray[np.uint8]:
        """Return `IMAGES` images ``[n, size, size, 3]``, or as many as a batch has."""
        count = max(IMAGES, self.batch)
        if self.manifest is not None and len(self.manifest):
            rows = np.linspace(0, len(self.manifest) - 1, count).astype(int)
            chosen = self.manifest.take(rows)
            with contextlib.suppress(MoENASError):
                images = [
                    crop_and_resize(read_image(chosen.file(path)), box, size)
                    for path, box in zip(chosen.frame["path"], chosen.boxes(), strict=True)
                ]
                self.words = f"{count} training images of the run, in turn"
                return np.stack(images)
        noise = generator(0, "benchmark").integers(0, 256, (count, size, size, 3))
        return noise.astype(np.uint8)

    def batches(self, size: int) -> list[npt.NDArray[np.uint8]]:
        """The images, a batch at a time."""
        images = self.of(size)
        return [
            np.ascontiguousarray(images[i : i + self.batch])
            for i in range(0, len(images) - self.batch + 1, self.batch)
        ]

    def file(self, size: int) -> Path:
        """The first batch as a file."""
        path = self.folder / f"images-{size}.npy"
        if not path.exists():
            np.save(path, self.batches(size)[0])
        return path


class Workshop:
    """Where files are exported to be run; models are opened, and their ONNX graphs made, once."""

    def __init__(self, folder: Path, images: Images) -> None:
        self.folder = folder
        self.images = images
        self.sources: dict[tuple[str, int], Source] = {}

    def file_of(self, entrant: Entrant, details: Details) -> Path:
        """Export a model; returns the file."""
        size = details.image_size
        key = (str(entrant.source or details.architecture), size)
        if key not in self.sources:
            if entrant.source is not None:
                model = load_model(entrant.source)[0]
            else:
                base = Architecture.parse(details.architecture).base
                model = build_model(base, num_classes=len(details.classes), seed=0).eval()
            self.sources[key] = Source(model, details, lambda: self.images.of(size))
        folder = Path(tempfile.mkdtemp(dir=self.folder))
        if entrant.kind == CHECKPOINT:
            path = folder / "model.safetensors"
            save_model(path, self.sources[key].model, image_size=size)
            return path
        path = folder / f"model{FORMATS[entrant.kind].suffix}"
        with warnings.catch_warnings(), _silent("torch"):
            warnings.simplefilter("ignore")
            BACKENDS[entrant.kind].write(self.sources[key], path)
        return path


@contextlib.contextmanager
def _silent(name: str) -> Iterator[None]:
    """Keep a library's warnings of its own doings to itself."""
    log = logging.getLogger(name)
    before = log.level
    log.setLevel(logging.ERROR)
    try:
        yield
    finally:
        log.setLevel(before)
