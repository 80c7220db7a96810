"""What can be wrong with a manifest, each problem named with its rows."""

from __future__ import annotations

import concurrent.futures
import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image

from moenas.data.images import Box, read_image
from moenas.data.splits import SPLITS
from moenas.errors import DataError
from moenas.predictions import LIGHTS
from moenas.runtime import available_cores

CROP = ("x", "y", "width", "height")

EVALUATION_ONLY = {
    "facet": "FACET's licence allows evaluation only: no model may be trained or tuned on it."
}
"""Sources whose images may be in the splits search and report alone, and why."""


def find_problems(
    frame: pd.DataFrame, facts: pd.Series | None, need_splits: Sequence[str]
) -> list[str]:
    """Return everything that is wrong with a typed manifest's table, one sentence a problem.

    Args:
        frame: The table; rows are numbered from 0.
        facts: What `inspect_images` found; None leaves images unchecked.
        need_splits: Splits that must have images of both classes.
    """
    problems = [*_bad_values(frame), *_bad_splits(frame, need_splits)]
    if facts is not None:
        problems += _bad_images(frame, facts)
    return problems


def inspect_images(frame: pd.DataFrame, root: Path) -> pd.Series | None:
    """Decode every image and return what it told, a `Facts` a row.

    None where a path leaves the root: nothing is opened then.
    """
    if frame["path"].map(leaves_root).any():
        return None
    paths = sorted(set(frame["path"]))
    boxes = pd.Series(crops(frame), index=frame.index, dtype=object)
    cuts = {path: {box for box in own if box} for path, own in boxes.groupby(frame["path"])}
    # Decoding and hashing release Python's lock: threads are enough, and bound the memory.
    with concurrent.futures.ThreadPoolExecutor(available_cores()) as pool:
        facts = pool.map(lambda path: Facts(root / path, cuts[path]), paths)
        return frame["path"].map(dict(zip(paths, facts, strict=True)))


def crops(frame: pd.DataFrame) -> list[Box | None]:
    """Return the crop of each row, None for the whole image."""
    table = frame[list(CROP)].to_numpy(dtype=np.float64, na_value=np.nan)
    return [None if np.isnan(r).any() else (r[0], r[1], r[2], r[3]) for r in table.tolist()]


def leaves_root(path: str) -> bool:
    """Whether a path is absolute or climbs out of the folder it is relative to."""
    posix, windows = PurePosixPath(path), PureWindowsPath(path)
    return (
        posix.is_absolute()
        or bool(windows.drive or windows.root)
        or ".." in posix.parts
        or ".." in windows.parts
        or "\0" in path
    )


def rows_of(mask: Any) -> str:
    """Name the rows of a mask for a message: ``rows 1, 2 and 9 more``."""
    rows = np.flatnonzero(np.asarray(mask, dtype=bool))
    shown = ", ".join(str(row) for row in rows[:5])
    more = f" and {len(rows) - 5} more" if len(rows) > 5 else ""
    return f"row{'s' if len(rows) > 1 else ''} {shown}{more}"


def _bad_values(frame: pd.DataFrame) -> Iterator[str]:
    for name, known in (("split", SPLITS), ("lighting", LIGHTS)):
        wrong = ~frame[name].isin(known)
        if name == "lighting":
            wrong &= frame[name].notna()
        if wrong.any():
            values = ", ".join(sorted({str(v) for v in frame.loc[wrong, name]})[:3])
            yield f"Unknown {name} ({values}) in {rows_of(wrong)}. Known: {', '.join(known)}."
    checks = {
        "'label' is not 0 or 1": ~frame["label"].isin([0, 1]),
        "'group' is negative": (frame["group"] < 0).fillna(False),
        "'weight' is not a positive number": ~(
            (frame["weight"] > 0) & np.isfinite(frame["weight"])
        ),
        "'image_id' occurs twice": frame["image_id"].duplicated(keep=False),
        "the path leaves the folder of the manifest": frame["path"].map(leaves_root),
    }
    crop = frame[list(CROP)].to_numpy(dtype=np.float64, na_value=np.nan)
    given = ~np.isnan(crop)
    checks["only some of x, y, width, height are given"] = pd.Series(given.any(1) & ~given.all(1))
    checks["the crop has no area or starts outside the image"] = pd.Series(
        given.all(1) & ((crop[:, :2] < 0).any(1) | (crop[:, 2:] <= 0).any(1))
    )
    for message, mask in checks.items():
        wrong = np.asarray(mask, dtype=bool)
        if wrong.any():
            yield f"{message[0].upper()}{message[1:]}: {rows_of(wrong)}."


def evaluation_only(frame: pd.DataFrame) -> str | None:
    """Say which rows are in a split that their source's licence forbids; None: there are none."""
    for source, reason in EVALUATION_ONLY.items():
        wrong = (frame["source"] == source) & frame["split"].isin(("train", "val"))
        if wrong.any():
            return f"{reason} {rows_of(wrong).capitalize()}: refused in the splits train and val."
    return None


def _bad_splits(frame: pd.DataFrame, need_splits: Sequence[str]) -> Iterator[str]:
    groups = sorted(set(frame["group"].dropna().astype(int)))
    for split in need_splits:
        part = frame[frame["split"] == split]
        if part.empty:
            yield f"Split '{split}' has no images."
            continue
        for label, name in ((1, "with a person"), (0, "without a person")):
            if not (part["label"] == label).any():
                yield (
                    f"Split '{split}' has no image {name}: accuracy would mean nothing. "
                    f"Add some rows with label {label}."
                )
        if split in ("search", "report"):
            missing = [g for g in groups if g not in set(part["group"].dropna().astype(int))]
            if missing:
                yield (
                    f"Split '{split}' has no image of group {', '.join(map(str, missing))}: "
                    "fairness over all groups cannot be measured there. Add images, or set "
                    "these groups to null everywhere."
                )
    for column, message in (("cluster", "Cluster"), ("matched_set", "Matched set")):
        leaks = frame.groupby(column)["split"].nunique()
        for value in leaks.index[leaks > 1][:5]:
            mask = frame[column] == value
            yield (
                f"{message} '{value}' is in the splits "
                f"{', '.join(sorted(set(frame.loc[mask, 'split'])))}: a leak ({rows_of(mask)})."
            )


def _bad_images(frame: pd.DataFrame, rows: pd.Series) -> Iterator[str]:
    boxes = crops(frame)
    broken = rows.map(lambda fact: fact.error is not None)
    if broken.any():
        first = rows[broken].iloc[0].error
        yield f"{int(broken.sum())} rows have no readable image ({rows_of(broken)}): {first}"
    outside = pd.Series(
        [
            box is not None
            and fact.error is None
            and (box[0] + box[2] > fact.width + 1 or box[1] + box[3] > fact.height + 1)
            for fact, box in zip(rows, boxes, strict=True)
        ]
    )
    if outside.any():
        yield f"The crop reaches beyond the image: {rows_of(outside)}."
    whole = rows.map(lambda fact: fact.digest)
    cut = pd.Series(
        [fact.cuts.get(box) for fact, box in zip(rows, boxes, strict=True)], index=frame.index
    )
    for digest, what in ((whole, "image"), (cut, "crop")):
        leaks = frame.groupby(digest)["split"].nunique()
        for value in leaks.index[leaks > 1][:5]:
            mask = digest == value
            yield (
                f"The same {what} is in the splits "
                f"{', '.join(sorted(set(frame.loc[mask, 'split'])))}: a leak ({rows_of(mask)})."
            )


class Facts:
    """What decoding a file told; digests are of pixels, of all and of crops, to find copies."""

    def __init__(self, path: Path, boxes: set[Box]) -> None:
        self.error: str | None = None
        self.digest: str | None = None
        self.cuts: dict[Box, str] = {}
        self.width = self.height = 0
        try:
            image = read_image(path)
        except DataError as error:
            self.error = str(error)
            return
        self.width, self.height = image.size
        self.digest = _digest(image)
        for x, y, width, height in boxes:
            left, right = (round(min(max(0, e), self.width)) for e in (x, x + width))
            top, bottom = (round(min(max(0, e), self.height)) for e in (y, y + height))
            if left < right and top < bottom:
                cut = image.crop((left, top, right, bottom))
                self.cuts[x, y, width, height] = _digest(cut)


def _digest(image: Image.Image) -> str:
    hasher = hashlib.blake2b(f"{image.size}".encode(), digest_size=16)
    hasher.update(image.tobytes())
    return hasher.hexdigest()
