"""Wake Vision: six million photographs, person or none, with attributes of the test's persons.

(Banbury et al., 2024, arXiv 2405.00892.) It has no skin tones. Its light is measured: the mean grey
value of an image.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

from moenas.console import logger
from moenas.data.manifest import Manifest
from moenas.data.sources.tables import counts_of, image_paths, plurality, read_header, read_table
from moenas.data.splits import split_by_cluster
from moenas.errors import DataError

TRAIN = ("wake_vision_train_quality.csv", "wake_vision_train_large.csv")
"""The first that is there is used."""

VAL, TEST = "wake_vision_validation.csv", "wake_vision_test.csv"
DARK, BRIGHT = 85, 170
"""An image with a mean grey value below is dark, from there on bright."""

_ATTRIBUTES: dict[str, Mapping[str | None, str]] = {
    "lighting": {"underexposed": "dark", "well_lit": "normal_lighting", "overexposed": "bright"},
    "gender": {
        "female": "predominantly_female",
        "male": "predominantly_male",
        None: "gender_unknown",
    },
    "age": {"young": "young", "middle": "middle_age", "older": "older", None: "age_unknown"},
    "distance": {"near": "near", "medium": "medium_distance", "far": "far"},
}
"""Columns of the manifest, their values, and the column that marks each; None: unknown."""


def is_wake_vision(folder: Path) -> bool:
    """Whether a folder holds Wake Vision's tables."""
    return all({"filename", "person"} <= set(read_header(folder / name)) for name in (VAL, TEST))


def light_of(image: Image.Image) -> str:
    """Return the light of an image by Wake Vision's rule.

    Its dark images are called ``underexposed`` here, so they count as poorly lit; its bright ones
    ``overexposed``, all others ``well_lit``.
    """
    grey = float(np.asarray(image.convert("L")).mean())
    return "underexposed" if grey < DARK else "overexposed" if grey >= BRIGHT else "well_lit"


def make_wake_vision(folder: Path | str, seed: int = 0) -> Manifest:
    """Make a manifest of Wake Vision as it is published.

    Args:
        folder: Holds the tables ``wake_vision_{train_quality or train_large, validation,
            test}.csv`` and the unpacked images, at any depth; a file's name says which it is.
        seed: Of the test's halves.

    Returns:
        The test's images are the splits search and report. Extra columns: ``depiction``,
        ``body_part`` (1, 0 or null), ``gender``, ``age`` and ``distance`` of the persons.

    Raises:
        DataError: A table or a cell is not as published; file and row are named.
    """
    folder = Path(folder)
    train = next((name for name in TRAIN if (folder / name).is_file()), TRAIN[0])
    frames = []
    for name, split in ((train, "train"), (VAL, "val"), (TEST, "test")):
        frames.append(_read(folder / name).assign(split=split))
    frame = pd.concat(frames, ignore_index=True)
    twice = frame["filename"].duplicated(keep=False)
    if twice.any():
        first = frame.loc[twice, "filename"].iloc[0]
        tables = " and ".join(frame.loc[frame["filename"] == first, "split"])
        raise DataError(f"'{folder}': the image {first!r} is listed twice, in {tables}.")
    known = image_paths(folder)
    # A file that is not there keeps a path: what is skipped is counted when images are read.
    frame["path"] = frame["filename"].map(lambda name: known.get(name, name))
    frame["image_id"] = frame["filename"]
    frame["source"] = "wake_vision"
    test = frame["split"] == "test"
    table = frame[test].rename(columns={"image_id": "cluster"})
    frame.loc[test, "split"] = split_by_cluster(table, {"search": 0.5, "report": 0.5}, seed)
    logger.info("Wake Vision has no skin tones: fairness over them is not defined on it.")
    return Manifest(frame.drop(columns=["filename"]), folder)


def _read(file: Path) -> pd.DataFrame:
    given = read_table(file, ("filename", "person"))
    empty = np.flatnonzero(given["filename"].str.strip() == "")
    if len(empty):
        raise DataError(f"'{file}', row {empty[0]}: filename is empty.")
    frame = given[["filename"]].copy()
    for name in ("person", "depiction", "body_part"):
        if name not in given:
            frame[name] = pd.Series(pd.NA, index=given.index, dtype="Int8")
            continue
        values = counts_of(given, [name], file)[:, 0]
        wrong = np.flatnonzero((values > 1) | (given[name].str.strip() == ""))
        if len(wrong):
            raise DataError(
                f"'{file}', row {wrong[0]}: {name} is {given[name].iloc[wrong[0]]!r}, not 1 or 0."
            )
        frame[name] = pd.Series(values, dtype="Int8")
    for name, columns in _ATTRIBUTES.items():
        known: list[str | None] = [None] * len(given)
        if all(column in given for column in columns.values()):
            known = plurality(counts_of(given, list(columns.values()), file), list(columns))
        frame[name] = pd.Series(known, dtype="str")
    return frame.rename(columns={"person": "label"})
