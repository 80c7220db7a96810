"""The manifest: the table that describes a data set, one row an image or a person crop."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from moenas.config import from_dict, to_dict
from moenas.data.images import Box
from moenas.data.labelling import Labelling
from moenas.data.skipped import TOO_MANY, tell_skipped
from moenas.data.splits import SPLITS
from moenas.data.validation import (
    CROP,
    crops,
    evaluation_only,
    find_problems,
    inspect_images,
    leaves_root,
    rows_of,
)
from moenas.errors import ConfigError, DataError
from moenas.parsing import not_text, read_csv, to_numbers
from moenas.serialisation import read_parquet, write_parquet

COLUMNS = {
    "image_id": "str",
    "path": "str",
    "label": "int8",
    "split": "str",
    "group": "Int16",
    "lighting": "str",
    "x": "Float64",
    "y": "Float64",
    "width": "Float64",
    "height": "Float64",
    "source": "str",
    "weight": "float64",
    "cluster": "str",
    "matched_set": "str",
}
"""Columns and types. ``path``: relative to the manifest's root. ``label``: 1 = person. ``group``:
value of the protected attribute (skin tone 1..10) or null. ``x, y, width, height``: a crop in
pixels; null = the whole image. ``cluster``: what is resampled together. ``matched_set``: rows that
differ in nothing but their group. Further columns are kept as given."""

REQUIRED = ("path", "label", "split")
"""Columns without a default."""

_ROOT, _LABELLING = "moenas_root", "moenas_labelling"

NAMES = ("image_id", "path")
"""Columns of names: ``NA`` and ``null`` are names of images, too."""


def read_named_csv(path: Path, **types: str) -> pd.DataFrame:
    """Read a CSV with any of a manifest's columns.

    Text stays text: an image_id may look like 007, or be ``NA`` or ``null``, which pandas takes for
    nothing. An empty cell is nothing.

    Args:
        path: The file.
        types: Of further columns, or other ones of these.

    Raises:
        OSError, ValueError: It cannot be read.
    """
    text = {name: "str" for name, kind in COLUMNS.items() if kind == "str"} | types
    frame = read_csv(path, dtype=text)
    if set(NAMES) & set(frame):
        names = read_csv(path, dtype="str", keep_default_na=False, usecols=NAMES.__contains__)
        for name in names:
            frame[name] = names[name].mask(names[name] == "")
    return frame


class Manifest:
    """A data set's table and the folder that its paths are relative to.

    Args:
        frame: A table with the `REQUIRED` columns; missing others get defaults (no group, no
            lighting, whole image, weight 1, each image its own cluster).
        root: The folder that ``path`` is relative to.
        labelling: The rule by which all its labels were made, None where that is not known: own
            labels, several sources, manifests older than this record.

    Raises:
        DataError: A column is missing or holds a value of the wrong type, or images are in a split
            that their source's licence forbids.
    """

    def __init__(
        self, frame: pd.DataFrame, root: Path | str, labelling: Labelling | None = None
    ) -> None:
        self.root = Path(root)
        self.labelling = labelling
        self.frame = _typed(frame)
        if problem := evaluation_only(self.frame):
            raise DataError(problem)

    def __len__(self) -> int:
        return len(self.frame)

    def __repr__(self) -> str:
        return f"Manifest({len(self)} rows, root={str(self.root)!r})"

    def split(self, name: str) -> Manifest:
        """The rows of one split, renumbered from 0."""
        return self.take(self.frame["split"] == name)

    def take(self, rows: Any) -> Manifest:
        """The rows of a mask [n] or of positions, renumbered from 0."""
        mask = np.asarray(rows)
        chosen = self.frame[mask] if mask.dtype == bool else self.frame.iloc[mask]
        result = Manifest.__new__(Manifest)
        result.root, result.labelling = self.root, self.labelling
        result.frame = chosen.reset_index(drop=True)
        return result

    def boxes(self) -> list[Box | None]:
        """The crop of each row, None for the whole image."""
        return crops(self.frame)

    def file(self, path: str) -> Path:
        """The file of a row's ``path``.

        Raises:
            DataError: The path is absolute or leaves the root.
        """
        if leaves_root(path):
            raise DataError(f"The path '{path}' leaves the folder of its manifest: refused.")
        return self.root / path

    def save(self, path: Path | str) -> None:
        """Write the table (Parquet), atomically, with where its images are and its rule."""
        path = Path(path)
        frame = self.frame.copy()
        root, folder = self.root.resolve(), path.parent.resolve()
        frame.attrs = {_ROOT: "." if root == folder else str(root)}
        if self.labelling is not None:
            frame.attrs[_LABELLING] = to_dict(self.labelling)
        write_parquet(path, frame)

    @classmethod
    def load(cls, path: Path | str) -> Manifest:
        """Read a manifest: Parquet as `save` writes it, or a CSV with the same columns.

        Raises:
            DataError: It is missing, damaged, or lacks a column.
        """
        path = Path(path)
        try:
            if path.suffix.lower() == ".csv":
                frame = read_named_csv(path)
            else:
                frame = read_parquet(path)
        except FileNotFoundError:
            raise DataError(f"There is no manifest '{path}'.") from None
        except (OSError, ValueError) as error:
            raise DataError(f"'{path}' cannot be read as a manifest: {error}.") from error
        root = path.parent / str(frame.attrs.get(_ROOT, "."))
        stored = frame.attrs.get(_LABELLING)
        frame.attrs = {}
        try:
            labelling = None if stored is None else from_dict(Labelling, stored)
        except (ConfigError, TypeError) as error:
            raise DataError(f"'{path}' names a rule of labels that is none: {error}") from error
        try:
            return cls(frame, root, labelling)
        except DataError as error:
            raise DataError(f"'{path}': {error}") from None

    def validate(self, check_images: bool = True, need_splits: Sequence[str] = SPLITS) -> None:
        """Check all that training and evaluation rely on, and tell everything that is wrong.

        Args:
            check_images: Also decode every image: unreadable files, crops outside their image,
                and the same picture in two splits are found.
            need_splits: Splits that must have images of both classes.

        Raises:
            DataError: Lists each problem with the first rows (numbered from 0) that have it.
        """
        self._not_empty()
        facts = inspect_images(self.frame, self.root) if check_images else None
        _raise(find_problems(self.frame, facts, need_splits))

    def checked(
        self, need_splits: Sequence[str] = SPLITS, skip_at_most: float = TOO_MANY
    ) -> Manifest:
        """Return the manifest without the images that cannot be read; the rest is validated.

        For data sets of a hundred thousand files, of which a few are damaged or were not fetched.

        Args:
            need_splits: As in `validate`.
            skip_at_most: The share of a split, label and group that may be left out; what is left
                out is counted in a warning.

        Raises:
            DataError: Too many cannot be read, or something is wrong with the rest.
        """
        self._not_empty()
        result, facts = self, inspect_images(self.frame, self.root)
        if facts is not None:
            errors = facts.map(lambda fact: fact.error)
            broken = errors.notna().to_numpy(dtype=bool)
            if broken.any():
                tell_skipped(self.frame, broken, str(errors[broken].iloc[0]), skip_at_most)
            result, facts = self.take(~broken), facts[~broken].reset_index(drop=True)
        _raise(find_problems(result.frame, facts, need_splits))
        return result

    def _not_empty(self) -> None:
        if not len(self):
            raise DataError("The manifest is empty: it has no rows.")


def _raise(problems: Sequence[str]) -> None:
    if problems:
        count = "a problem" if len(problems) == 1 else f"{len(problems)} problems"
        raise DataError(f"The manifest has {count}:\n- " + "\n- ".join(problems))


def _typed(frame: pd.DataFrame) -> pd.DataFrame:
    missing = [name for name in REQUIRED if name not in frame]
    if missing:
        raise DataError(
            f"The manifest has no column {', '.join(map(repr, missing))}. It needs: "
            f"{', '.join(REQUIRED)}; it may also have: "
            f"{', '.join(name for name in COLUMNS if name not in REQUIRED)}."
        )
    frame = frame.reset_index(drop=True).copy()
    for name in REQUIRED:
        if frame[name].isna().any():
            raise DataError(
                f"The manifest's column '{name}' is empty in {rows_of(frame[name].isna())}."
            )
    for name in (name for name, kind in COLUMNS.items() if kind == "str" and name in frame):
        if (foreign := not_text(frame[name])).any():
            raise DataError(
                f"The manifest's column '{name}' is bytes that are no UTF-8 text in "
                f"{rows_of(foreign)}."
            )
        frame[name] = frame[name].astype("str")
    # Several crops of one file need distinct names.
    number = frame.groupby("path").cumcount().astype(str)
    several = frame["path"].duplicated(keep=False)
    names = frame["path"].where(~several, frame["path"] + "#" + number)
    frame["image_id"] = frame["image_id"].fillna(names) if "image_id" in frame else names
    defaults: dict[str, Any] = {
        "group": pd.NA,
        "lighting": None,
        "source": "",
        "weight": 1.0,
        "cluster": frame["image_id"],
        "matched_set": None,
        **dict.fromkeys(CROP, pd.NA),
    }
    for name, default in defaults.items():
        if name not in frame:
            frame[name] = default
    frame["cluster"] = frame["cluster"].fillna(frame["image_id"])
    for name, kind in COLUMNS.items():
        if kind == "str":
            frame[name] = frame[name].astype("str")
            continue
        values = to_numbers(frame[name])
        wrong = values.isna() & frame[name].notna()
        if kind.lower().startswith("int"):
            wrong |= (values.notna() & ((values % 1 != 0) | (values.abs() > 127))).astype(bool)
        if kind[0].islower():
            wrong |= values.isna()
        if wrong.any():
            value = frame.loc[wrong, name].tolist()[0]
            told = "nothing" if pd.isna(value) else repr(value)
            raise DataError(
                f"The manifest's column '{name}' holds {told}, not a number it can be, in "
                f"{rows_of(wrong)}."
            )
        frame[name] = values.astype(kind)
    rest = [name for name in frame.columns if name not in COLUMNS]
    return frame[[*COLUMNS, *rest]]
