"""CIFAR-100's people against everything else: small photographs, for those who have the data set.

The *binary* version (``train.bin``, ``test.bin``) is read; the Python version is a pickle, which
could run code. The set has no skin tones, so fairness is not defined on it. Poor light is simulated
(`moenas.data.lighting`), on a share of the images that is seeded, as in Emoji Scenes.
"""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from PIL import Image

from moenas.atomic import write_if_new
from moenas.data.lighting import TEST_LIGHTS, TRAIN_LIGHTS, apply_lighting
from moenas.data.manifest import Manifest
from moenas.errors import DataError
from moenas.runtime import generator

FILES = ("train.bin", "test.bin", "coarse_label_names.txt", "fine_label_names.txt")
SIDE = 32
PEOPLE = "people"
"""The superclass of baby, boy, girl, man and woman."""

VAL_SHARE, SEARCH_SHARE = 0.1, 1 / 3
"""Of the training images, and of the test images."""

_PIXELS = 3 * SIDE * SIDE
_COLUMNS = 20
_ROWS = 20


def is_cifar100(folder: Path) -> bool:
    """Whether a folder holds the binary version."""
    return not _missing(folder)


def _missing(folder: Path) -> list[str]:
    return [name for name in FILES if not (folder / name).is_file()]


def make_cifar100(folder: Path | str, out_dir: Path | str, seed: int = 0) -> Manifest:
    """Make a manifest of all people in CIFAR-100 and others: as many in training, twice in tests.

    Args:
        folder: ``cifar-100-binary``, as it is published.
        out_dir: Gets the images, as PNG sheets.
        seed: Of the others that are taken, the splits and the light.

    Returns:
        Splits train and val from ``train.bin``, search and report from ``test.bin``; of equal
        images, in one file or both, the first is taken. Extra column: ``fine``, the class's name.

    Raises:
        DataError: A file is missing, is not whole, has no people, or holds labels that the names do
            not have.
        RunFolderError: The folder cannot be written.
    """
    folder, out_dir = Path(folder), Path(out_dir)
    if missing := _missing(folder):
        raise DataError(
            f"'{folder}' has no {', '.join(missing)}: give the folder cifar-100-binary of the "
            "binary version of CIFAR-100."
        )
    coarse, fine = _names(folder / FILES[2]), _names(folder / FILES[3])
    if PEOPLE not in coarse:
        raise DataError(f"'{folder / FILES[2]}' names no class '{PEOPLE}'.")
    person = coarse.index(PEOPLE)
    seen: set[bytes] = set()
    frames = []
    for file, others, share, first, second in (
        ("train.bin", 1, VAL_SHARE, "val", "train"),
        ("test.bin", 2, SEARCH_SHARE, "search", "report"),
    ):
        records = _read(folder / file, len(coarse), len(fine))
        images = [record.tobytes() for record in records[:, 2:]]
        fresh = np.zeros(len(images), dtype=bool)
        for index, image in enumerate(images):
            fresh[index] = image not in seen
            seen.add(image)
        people = 0
        for label in (1, 0):
            rows = np.flatnonzero(fresh & ((records[:, 0] == person) == bool(label)))
            rows = generator(seed, file, label).permutation(rows)
            people = people or len(rows)
            if not people:
                raise DataError(f"'{folder / file}' has no image of people.")
            rows = rows if label else rows[: others * people]
            cut = round(share * len(rows))
            for split, part in ((first, rows[:cut]), (second, rows[cut:])):
                frames.append(_write(out_dir, split, label, records[part], fine, seed))
    return Manifest(pd.concat(frames, ignore_index=True), out_dir)


def _names(file: Path) -> list[str]:
    return [line.strip() for line in file.read_text(errors="replace").splitlines() if line.strip()]


def _read(file: Path, coarse: int, fine: int) -> npt.NDArray[np.uint8]:
    """Return [N, 2 + 3072]: coarse label, fine label, red, green and blue planes."""
    data = np.fromfile(file, dtype=np.uint8)
    if data.size == 0 or data.size % (2 + _PIXELS):
        raise DataError(
            f"'{file}' has {data.size} bytes, no multiple of {2 + _PIXELS}: it is not whole, or "
            "not of CIFAR-100's binary version."
        )
    records = data.reshape(-1, 2 + _PIXELS)
    for column, count in enumerate((coarse, fine)):
        wrong = np.flatnonzero(records[:, column] >= count)
        if wrong.size:
            raise DataError(
                f"'{file}', record {wrong[0]}: label {records[wrong[0], column]}, but there are "
                f"{count} names."
            )
    return records


def _write(
    out_dir: Path,
    split: str,
    label: int,
    records: npt.NDArray[np.uint8],
    fine: list[str],
    seed: int,
) -> pd.DataFrame:
    """Write a split's images of one label as sheets; return their rows."""
    rows: list[dict[str, Any]] = []
    kind = "person" if label else "other"
    for start in range(0, len(records), _COLUMNS * _ROWS):
        part = records[start : start + _COLUMNS * _ROWS]
        canvas = np.zeros((_ROWS * SIDE, _COLUMNS * SIDE, 3), dtype=np.uint8)
        path = f"images/{split}/{kind}-{start:05d}.png"
        for place, record in enumerate(part):
            index = start + place
            rng = generator(seed, "light", split, label, index)
            light = _light(split, index, rng)
            image = record[2:].reshape(3, SIDE, SIDE).transpose(1, 2, 0)
            if light != "well_lit":  # the photographs are
                image = apply_lighting(image, light, rng)
            y, x = place // _COLUMNS * SIDE, place % _COLUMNS * SIDE
            canvas[y : y + SIDE, x : x + SIDE] = image
            rows.append(
                {
                    "image_id": f"{split}-{kind}-{index:05d}",
                    "path": path,
                    "label": label,
                    "split": split,
                    "lighting": light,
                    "x": x,
                    "y": y,
                    "width": SIDE,
                    "height": SIDE,
                    "source": "cifar100",
                    "fine": fine[record[1]],
                }
            )
        file = io.BytesIO()
        Image.fromarray(canvas).save(file, "PNG", compress_level=1)
        write_if_new(out_dir / path, file.getvalue())
    return pd.DataFrame(rows)


def _light(split: str, index: int, rng: np.random.Generator) -> str:
    if split in ("search", "report"):
        return TEST_LIGHTS[index % len(TEST_LIGHTS)]
    return str(rng.choice(list(TRAIN_LIGHTS), p=list(TRAIN_LIGHTS.values())))
