"""FACET: 32,000 photographs of people with skin tones and light, for evaluation only.

Gustafson et al., 2023, "FACET: Fairness in Computer Vision Evaluation Benchmark", arXiv 2309.00035.

Every image has a person, so a test needs images without from elsewhere (PAPER row 3):
`moenas.data.sources.joined`. The licence forbids training: a `Manifest` with FACET in the splits
train or val cannot be made.
"""

from __future__ import annotations

import concurrent.futures
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal, get_args

import msgspec
import numpy as np
import pandas as pd

from moenas.console import logger
from moenas.data.copies import first_copies
from moenas.data.images import Box, image_size
from moenas.data.manifest import Manifest
from moenas.data.sources.tables import counts_of, image_paths, plurality, read_header, read_table
from moenas.data.splits import joined_clusters, split_by_cluster
from moenas.data.validation import rows_of
from moenas.errors import ConfigError, DataError, did_you_mean
from moenas.predictions import LIGHTS
from moenas.runtime import available_cores
from moenas.votes import VOTE_COLUMNS, groups_of

Unit = Literal["person", "image"]
"""What a row shows: the person's box with a margin, or the whole image that the person is in."""

FOLDERS = ("imgs_1", "imgs_2", "imgs_3")
MARGIN = 0.1
"""Added on each side of a box, as a share of its width and height."""

NO_TONE = "skin_tone_na"
_LIGHT: dict[str | None, str] = {name: f"lighting_{name}" for name in LIGHTS}
_NEEDS = ("person_id", "filename", "bounding_box", *VOTE_COLUMNS, *_LIGHT.values())
_ATTRIBUTES: dict[str, Mapping[str | None, str]] = {
    "lighting": {**_LIGHT, None: "lighting_na"},
    "gender": {
        "masc": "gender_presentation_masc",
        "fem": "gender_presentation_fem",
        "non_binary": "gender_presentation_non_binary",
        None: "gender_presentation_na",
    },
    "age": {
        "young": "age_presentation_young",
        "middle": "age_presentation_middle",
        "older": "age_presentation_older",
        None: "age_presentation_na",
    },
}
"""What the majority of votes decides, and the columns of votes; None: annotators could not tell."""


class _Box(msgspec.Struct):
    x: float
    y: float
    width: float
    height: float


def is_facet(folder: Path) -> bool:
    """Whether a folder holds FACET's annotations."""
    file = _annotations(folder)
    return file is not None and {"bounding_box", VOTE_COLUMNS[0]} <= set(read_header(file))


def _annotations(folder: Path) -> Path | None:
    files = (folder / "annotations.csv", folder / "annotations" / "annotations.csv")
    return next((file for file in files if file.is_file()), None)


def make_facet(
    folder: Path | str, unit: Unit = "person", seed: int = 0, *, margin: float = MARGIN
) -> Manifest:
    """Make a manifest of the persons of FACET, as it is published.

    A person's ``group`` is the skin tone with most votes, the lowest of equals, and null where no
    annotator named one; the columns of votes are kept, so that scores can also be told by other
    rules (`moenas.metrics.votes`). ``lighting``, ``gender`` and ``age`` are what most votes say,
    null in a tie (PAPER row 6). All other columns are kept as given.

    Args:
        folder: Holds ``annotations.csv`` (or ``annotations/annotations.csv``) and images in
            ``imgs_1/``, ``imgs_2/``, ``imgs_3/``.
        unit: What a row shows.
        seed: Of the halves.
        margin: Added on each side of a box, as a share of its size; the result is clipped to the
            image.

    Returns:
        One row a person, label 1, in the splits search and report: halves that share no person and
        no image. ``cluster``: persons of one image, or images of one person, together.

    Raises:
        DataError: The folder or a cell is not as published; file and row are named.
        ConfigError: The unit or margin is none.
    """
    if unit not in get_args(Unit):
        raise ConfigError(f"There is no unit '{unit}'. {did_you_mean(unit, get_args(Unit))}")
    if not (np.isfinite(margin) and margin >= 0):
        raise ConfigError(f"margin must be 0 or more, not {margin}.")
    folder = Path(folder)
    file = _annotations(folder)
    if file is None:
        raise DataError(f"'{folder}' has no annotations.csv: give the folder of FACET.")
    given = read_table(file, _NEEDS)
    _check_ids(given, file)
    frame = _numbered(given, file)
    frame["path"] = _paths(given["filename"], folder)
    frame["image_id"] = given["filename"] + "#" + given["person_id"]
    frame["label"], frame["source"] = 1, "facet"
    frame["group"] = _tones(frame, file)
    for name, columns in _ATTRIBUTES.items():
        if set(columns.values()) - {columns[None]} <= set(given):
            known = {value: column for value, column in columns.items() if column in given}
            votes = counts_of(given, list(known.values()), file)
            frame[name] = pd.Series(plurality(votes, list(known)), dtype="str")
    boxes = _boxes(given["bounding_box"], frame["path"], folder, file, margin)
    if unit == "person":
        frame[["x", "y", "width", "height"]] = boxes
    frame["cluster"] = _clusters(given["person_id"], frame["path"], folder)
    frame["split"] = split_by_cluster(frame, {"search": 0.5, "report": 0.5}, seed)
    manifest = Manifest(frame.drop(columns=["bounding_box", "filename"]), folder)
    counts = manifest.frame["group"].value_counts().sort_index()
    logger.info(
        "FACET: %d persons; of each skin tone: %s; without a tone: %d.",
        len(manifest),
        ", ".join(f"{tone}: {n:,}" for tone, n in counts.items()),
        int(manifest.frame["group"].isna().sum()),
    )
    return manifest


def _check_ids(given: pd.DataFrame, file: Path) -> None:
    for name in ("person_id", "filename"):
        empty = given[name].str.strip() == ""
        if empty.any():
            raise DataError(f"'{file}': {name} is empty in {rows_of(empty)}.")
    for row, name in enumerate(given["filename"]):
        if "/" in name or "\\" in name:
            raise DataError(f"'{file}', row {row}: filename {name!r} is no file's name.")
    twice = given.duplicated(["person_id", "filename"], keep=False)
    if twice.any():
        person = given.loc[twice, "person_id"].iloc[0]
        raise DataError(
            f"'{file}': the person_id {person!r} occurs twice in one image ({rows_of(twice)})."
        )


def _numbered(given: pd.DataFrame, file: Path) -> pd.DataFrame:
    """The table with votes as numbers, and so with all other columns that are (0/1 marks)."""
    frame = given.copy()
    votes = [*VOTE_COLUMNS, NO_TONE, *(c for known in _ATTRIBUTES.values() for c in known.values())]
    votes = [name for name in votes if name in given]
    frame[votes] = counts_of(given, votes, file)
    frame = frame.astype(dict.fromkeys(votes, "Int32"))
    for name in set(given) - {*votes, *_NEEDS, "class1", "class2"}:
        values = pd.to_numeric(given[name], errors="coerce")
        if values.notna().all():
            frame[name] = values
    return frame


def _paths(names: pd.Series, folder: Path) -> pd.Series:
    known = image_paths(folder, FOLDERS)
    absent = [name for name in FOLDERS if not (folder / name).is_dir()]
    if absent:
        logger.warning("'%s' has no %s.", folder, ", ".join(f"{name}/" for name in absent))
    # A file that is not there keeps a path: what is skipped is counted when images are read.
    return names.map(lambda name: known.get(name, f"{FOLDERS[0]}/{name}"))


def _tones(frame: pd.DataFrame, file: Path) -> pd.Series:
    votes = frame[list(VOTE_COLUMNS)].to_numpy(dtype=np.int64)
    if not votes.any():
        raise DataError(f"'{file}' has no vote on any skin tone.")
    unsure = frame[NO_TONE].to_numpy(dtype=np.int64) if NO_TONE in frame else 0
    silent = votes.sum(1) + unsure == 0
    if silent.any():
        logger.warning(
            "'%s': no votes on the skin tone at all in %s; these persons count in no group.",
            file, rows_of(silent),
        )  # fmt: skip
    rows, tones, _ = groups_of(votes, "argmax")
    group = pd.Series(pd.NA, index=frame.index, dtype="Int16")
    group.iloc[rows] = tones
    return group


def _boxes(
    texts: pd.Series, paths: Sequence[str], folder: Path, file: Path, margin: float
) -> np.ndarray[tuple[int, int], np.dtype[np.float64]]:
    """[n, 4] boxes with their margin, within their images."""
    sizes = _sizes(folder, sorted(set(paths)))
    result = np.zeros((len(texts), 4))
    outside = np.zeros(len(texts), dtype=np.bool_)
    for row, (text, path) in enumerate(zip(texts, paths, strict=True)):
        x, y, width, height = _box(text, row, file)
        # Of a file that cannot be read nothing is known; reading images will tell.
        right, bottom = sizes[path] or (np.inf, np.inf)
        outside[row] = x >= right or y >= bottom or x + width <= 0 or y + height <= 0
        left, top = max(0.0, x - margin * width), max(0.0, y - margin * height)
        right = min(right, x + (1 + margin) * width)
        bottom = min(bottom, y + (1 + margin) * height)
        result[row] = left, top, right - left, bottom - top
    if outside.any():
        row = int(np.flatnonzero(outside)[0])
        raise DataError(
            f"'{file}': the bounding box lies outside its image in {rows_of(outside)}; the first "
            f"is {texts.iloc[row]} in an image of {sizes[paths[row]]} pixels."
        )
    return result


def _box(text: str, row: int, file: Path) -> Box:
    try:
        # Python's way to print a dict is met as well; it differs in quotes alone.
        box = msgspec.json.decode(text.replace("'", '"'), type=_Box)
    except (msgspec.DecodeError, UnicodeError) as error:
        raise DataError(
            f"'{file}', row {row}: bounding_box {text[:80]!r} is no JSON object with x, y, width "
            f"and height: {error}."
        ) from None
    if not (box.width > 0 and box.height > 0):
        raise DataError(f"'{file}', row {row}: the bounding box {text[:80]!r} has no area.")
    return box.x, box.y, box.width, box.height


def _sizes(folder: Path, paths: list[str]) -> dict[str, tuple[int, int] | None]:
    def size(path: str) -> tuple[int, int] | None:
        try:
            return image_size(folder / path)
        except DataError:
            return None

    with concurrent.futures.ThreadPoolExecutor(available_cores()) as pool:
        return dict(zip(paths, pool.map(size, paths), strict=True))


def _clusters(persons: pd.Series, paths: pd.Series, folder: Path) -> pd.Series:
    """Name rows by the first image that they are joined to by persons and images in common."""
    return joined_clusters(paths.map(first_copies(folder, paths)), persons)
