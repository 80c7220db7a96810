"""A user's own images: a folder with two subfolders, or a CSV file."""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import pandas as pd

from moenas.console import logger
from moenas.data.copies import first_copies
from moenas.data.images import SUFFIXES
from moenas.data.manifest import COLUMNS, Manifest, read_named_csv
from moenas.data.splits import SPLITS, joined_clusters, split_by_cluster
from moenas.data.walking import files_below
from moenas.errors import DataError
from moenas.parsing import not_unicode

CLASSES = {"person": 1, "no_person": 0}
"""Names of the two subfolders, and of labels in a CSV (besides 1 and 0)."""

FRACTIONS = {"train": 0.6, "val": 0.1, "search": 0.15, "report": 0.15}
"""Shares of the splits where the user gives none."""

_LAYOUT = (
    "It needs the subfolders person/ and no_person/ with images, either directly or under each of "
    f"{', '.join(f'{split}/' for split in SPLITS)}; or give a CSV file with the columns path and "
    "label."
)


def read_folder(
    path: Path | str, fractions: Mapping[str, float] | None = None, seed: int = 0
) -> Manifest:
    """Make a manifest of a user's images.

    Args:
        path: A folder ``person/*.jpg, no_person/*.jpg`` (any depth below), optionally with
            ``train/ val/ search/ report/`` above; or a CSV with ``path`` (relative to the CSV) and
            ``label`` (1/0 or person/no_person), and optionally ``group``, ``lighting``, ``split``,
            ``x, y, width, height``, ``cluster`` and any further columns.
        fractions: Shares of the splits, used where none are given; `FRACTIONS` by default.
        seed: Of that split.

    Returns:
        The manifest. Where splits are made here, images with the same bytes, and rows with the
        same ``cluster`` or ``matched_set``, stay together.

    Raises:
        DataError: The layout or a value is not as described.
    """
    path = Path(path)
    if not path.exists():
        raise DataError(f"There is no folder or CSV file '{path}'.")
    frame, root = (_from_tree(path), path) if path.is_dir() else (_from_csv(path), path.parent)
    if "split" not in frame:
        frame["split"] = "train"  # for now: a manifest needs one
        manifest = Manifest(frame, root)
        manifest.frame["cluster"] = _clusters(manifest, own="cluster" in frame)
        wanted = dict(FRACTIONS if fractions is None else fractions)
        unknown = sorted(set(wanted) - set(SPLITS))
        if unknown:
            raise DataError(f"Unknown split '{unknown[0]}'. Known: {', '.join(SPLITS)}.")
        manifest.frame["split"] = split_by_cluster(manifest.frame, wanted, seed).astype("str")
        return manifest
    return Manifest(frame, root)


def _from_tree(folder: Path) -> pd.DataFrame:
    below = sorted(p.name for p in folder.iterdir() if p.is_dir() and not p.name.startswith("."))
    splits = [name for name in below if name in SPLITS]
    strange = [name for name in below if name not in (*SPLITS, *CLASSES)]
    if strange or not below or (splits and len(splits) < len(below)):
        found = ", ".join(f"{name}/" for name in below) or "no subfolders"
        raise DataError(f"'{folder}' has {found}. {_LAYOUT}")
    rows: list[dict[str, object]] = []
    ignored: list[Path] = []
    for split in splits or [""]:
        base = folder / split if split else folder
        for name, label in CLASSES.items():
            if not (base / name).is_dir():
                raise DataError(f"'{base}' has no subfolder {name}/. {_LAYOUT}")
            for file in sorted(base / name / path for path in files_below(base / name)):
                if any(part.startswith(".") for part in file.relative_to(base).parts):
                    continue
                if file.suffix.lower() not in SUFFIXES:
                    ignored.append(file)
                    continue
                path = file.relative_to(folder).as_posix()
                if not_unicode(path):
                    raise DataError(
                        f"The name of the file {path!r} in '{folder}' is no UTF-8 text, which a "
                        "manifest has to be. Rename it."
                    )
                row: dict[str, object] = {
                    "path": path,
                    "label": label,
                    "source": "folder",
                }
                if split:
                    row["split"] = split
                rows.append(row)
    if ignored:
        logger.warning(
            "%d files in '%s' are not images (%s ...): ignored. Images end in %s.",
            len(ignored), folder, ignored[0].name, ", ".join(SUFFIXES),
        )  # fmt: skip
    if not rows:
        raise DataError(f"'{folder}' holds no images. Images end in {', '.join(SUFFIXES)}.")
    return pd.DataFrame(rows)


def _from_csv(file: Path) -> pd.DataFrame:
    try:
        frame = read_named_csv(file, label="str")
    except (OSError, ValueError) as error:
        raise DataError(f"'{file}' cannot be read as a CSV file: {error}") from error
    for name in ("path", "label"):
        if name not in frame:
            raise DataError(
                f"'{file}' has no column '{name}'; it has {', '.join(map(repr, frame.columns))}. "
                f"It needs path and label, and may have {', '.join(COLUMNS)}."
            )
    if frame.empty:
        raise DataError(f"'{file}' has no rows.")
    labels = CLASSES | {"1": 1, "0": 0}
    written = frame["label"].str.strip().str.lower().str.removesuffix(".0")
    wrong = ~written.isin(labels)
    if wrong.any():
        row = int(wrong.to_numpy().argmax())
        raise DataError(
            f"'{file}', row {row}: the label {frame['label'].iloc[row]!r} is none of "
            f"{', '.join(labels)}."
        )
    frame["label"] = written.map(labels)
    frame["path"] = [
        _as_on_disk(file.parent, path) for path in frame["path"].str.replace("\\", "/", regex=False)
    ]
    for row, path in enumerate(frame["path"]):
        if isinstance(path, str) and Path(path).is_absolute():
            raise DataError(
                f"'{file}', row {row}: the path '{path}' is absolute. Write paths relative to the "
                "CSV file's folder."
            )
    return frame.assign(source=frame.get("source", "folder"))


def _as_on_disk(folder: Path, path: Any) -> Any:
    """A CSV's path as the file system writes it: letters with accents have two spellings.

    macOS writes files' names in the one, and most programs write text in the other.
    """
    if not isinstance(path, str) or path.isascii() or _is_there(folder / path):
        return path
    forms: tuple[Literal["NFC", "NFD"], ...] = ("NFC", "NFD")
    spelt = [unicodedata.normalize(form, path) for form in forms]
    return next((each for each in spelt if _is_there(folder / each)), path)


def _is_there(file: Path) -> bool:
    try:
        return file.exists()
    except OSError:  # a name may be too long
        return False


def _clusters(manifest: Manifest, *, own: bool) -> pd.Series:
    """Name what must stay together: copies and crops of one file, the user's own and matched rows.

    Args:
        manifest: The rows.
        own: Whether its clusters are the user's; else a cluster has the name of its first file.
    """
    frame = manifest.frame
    for path in set(frame["path"]):
        manifest.file(path)  # raises for one that leaves the folder
    content = frame["path"].map(first_copies(manifest.root, frame["path"])).astype("str")
    names = (frame["cluster"], content) if own else (content,)
    return joined_clusters(*names, frame["matched_set"])
