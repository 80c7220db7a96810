"""The manifest: the table that describes a data set, one row an image or a person crop."""

from __future__ import annotations

import concurrent.futures
import hashlib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

import numpy as np
import pandas as pd

from moenas.data.images import read_image
from moenas.data.splits import SPLITS
from moenas.errors import DataError
from moenas.predictions import LIGHTS
from moenas.runs import write_parquet
from moenas.runtime import available_cores

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

_CROP = ("x", "y", "width", "height")
_ROOT = "moenas_root"


class Manifest:
    """A data set's table and the folder that its paths are relative to.

    Args:
        frame: A table with the `REQUIRED` columns; missing others get defaults (no group, no
            lighting, whole image, weight 1, each image its own cluster).
        root: The folder that ``path`` is relative to.

    Raises:
        DataError: A column is missing or holds a value of the wrong type.
    """

    def __init__(self, frame: pd.DataFrame, root: Path | str) -> None:
        self.root = Path(root)
        self.frame = _typed(frame)

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
        result.root = self.root
        result.frame = chosen.reset_index(drop=True)
        return result

    def boxes(self) -> list[tuple[float, float, float, float] | None]:
        """The crop of each row, None for the whole image."""
        table = self.frame[list(_CROP)].to_numpy(dtype=np.float64, na_value=np.nan)
        return [None if np.isnan(r).any() else (r[0], r[1], r[2], r[3]) for r in table.tolist()]

    def file(self, path: str) -> Path:
        """The file of a row's ``path``.

        Raises:
            DataError: The path is absolute or leaves the root.
        """
        if _leaves_root(path):
            raise DataError(f"The path '{path}' leaves the folder of its manifest: refused.")
        return self.root / path

    def save(self, path: Path | str) -> None:
        """Write the table (Parquet), atomically; it remembers where its images are."""
        path = Path(path)
        frame = self.frame.copy()
        root, folder = self.root.resolve(), path.parent.resolve()
        frame.attrs = {_ROOT: "." if root == folder else str(root)}
        write_parquet(path, frame)

    @classmethod
    def load(cls, path: Path | str) -> Manifest:
        """Read a manifest: Parquet as `save` writes it, or a CSV with the same columns.

        Raises:
            DataError: It is missing, damaged, or lacks a column.
        """
        path = Path(path)
        try:
            if path.suffix.lower() == ".csv":  # text stays text: an image_id may look like 007
                text = {name: "str" for name, kind in COLUMNS.items() if kind == "str"}
                frame = pd.read_csv(path, dtype=text)
            else:
                frame = pd.read_parquet(path)
        except FileNotFoundError:
            raise DataError(f"There is no manifest '{path}'.") from None
        except (OSError, ValueError) as error:
            raise DataError(f"'{path}' cannot be read as a manifest: {error}.") from error
        root = path.parent / str(frame.attrs.get(_ROOT, "."))
        frame.attrs = {}
        return cls(frame, root)

    def validate(self, check_images: bool = True, need_splits: Sequence[str] = SPLITS) -> None:
        """Check all that training and evaluation rely on, and tell everything that is wrong.

        Args:
            check_images: Also decode every image: unreadable files, crops outside their image,
                and the same picture in two splits are found.
            need_splits: Splits that must have images of both classes.

        Raises:
            DataError: Lists each problem with the first rows (numbered from 0) that have it.
        """
        if not len(self):
            raise DataError("The manifest is empty: it has no rows.")
        problems = [*self._bad_values(), *self._bad_splits(need_splits)]
        if check_images and not any("leaves the folder" in problem for problem in problems):
            problems += self._bad_images()
        if problems:
            count = "a problem" if len(problems) == 1 else f"{len(problems)} problems"
            raise DataError(f"The manifest has {count}:\n- " + "\n- ".join(problems))

    def _bad_values(self) -> Iterator[str]:
        frame = self.frame
        for name, known in (("split", SPLITS), ("lighting", LIGHTS)):
            wrong = ~frame[name].isin(known)
            if name == "lighting":
                wrong &= frame[name].notna()
            if wrong.any():
                values = ", ".join(sorted({str(v) for v in frame.loc[wrong, name]})[:3])
                yield f"Unknown {name} ({values}) in {_rows(wrong)}. Known: {', '.join(known)}."
        checks = {
            "'label' is not 0 or 1": ~frame["label"].isin([0, 1]),
            "'group' is negative": (frame["group"] < 0).fillna(False),
            "'weight' is not a positive number": ~(
                (frame["weight"] > 0) & np.isfinite(frame["weight"])
            ),
            "'image_id' occurs twice": frame["image_id"].duplicated(keep=False),
            "the path leaves the folder of the manifest": frame["path"].map(_leaves_root),
        }
        crop = frame[list(_CROP)].to_numpy(dtype=np.float64, na_value=np.nan)
        given = ~np.isnan(crop)
        checks["only some of x, y, width, height are given"] = pd.Series(
            given.any(1) & ~given.all(1)
        )
        checks["the crop has no area or starts outside the image"] = pd.Series(
            given.all(1) & ((crop[:, :2] < 0).any(1) | (crop[:, 2:] <= 0).any(1))
        )
        for message, mask in checks.items():
            wrong = np.asarray(mask, dtype=bool)
            if wrong.any():
                yield f"{message[0].upper()}{message[1:]}: {_rows(wrong)}."

    def _bad_splits(self, need_splits: Sequence[str]) -> Iterator[str]:
        frame = self.frame
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
                    f"{', '.join(sorted(set(frame.loc[mask, 'split'])))}: a leak ({_rows(mask)})."
                )

    def _bad_images(self) -> Iterator[str]:
        paths = sorted(set(self.frame["path"]))
        facts = dict(zip(paths, _inspect([self.root / p for p in paths]), strict=True))
        rows = self.frame["path"].map(facts)
        broken = rows.map(lambda fact: fact.error is not None)
        if broken.any():
            first = rows[broken].iloc[0].error
            yield f"{int(broken.sum())} rows have no readable image ({_rows(broken)}): {first}"
        outside = pd.Series(
            [
                box is not None
                and fact.error is None
                and (box[0] + box[2] > fact.width + 1 or box[1] + box[3] > fact.height + 1)
                for fact, box in zip(rows, self.boxes(), strict=True)
            ]
        )
        if outside.any():
            yield f"The crop reaches beyond the image: {_rows(outside)}."
        digest = rows.map(lambda fact: fact.digest)
        leaks = self.frame.groupby(digest)["split"].nunique()
        for value in leaks.index[leaks > 1][:5]:
            mask = digest == value
            yield (
                f"The same image is in the splits "
                f"{', '.join(sorted(set(self.frame.loc[mask, 'split'])))}: a leak ({_rows(mask)})."
            )


class _Facts:
    """What decoding a file told; ``digest`` is of its pixels, so that a copy is found."""

    def __init__(self, path: Path) -> None:
        self.error: str | None = None
        self.digest: str | None = None
        self.width = self.height = 0
        try:
            image = read_image(path)
        except DataError as error:
            self.error = str(error)
            return
        self.width, self.height = image.size
        hasher = hashlib.blake2b(f"{image.size}".encode(), digest_size=16)
        hasher.update(image.tobytes())
        self.digest = hasher.hexdigest()


def _inspect(files: Sequence[Path]) -> Iterable[_Facts]:
    # Decoding and hashing release Python's lock: threads are enough, and bound the memory.
    with concurrent.futures.ThreadPoolExecutor(available_cores()) as pool:
        return list(pool.map(_Facts, files))


def describe(manifest: Manifest) -> dict[str, dict[str, Any]]:
    """Count images per split: ``{split: {"n", "positives", "groups": {}, "lights": {}}}``."""
    result: dict[str, dict[str, Any]] = {}
    for split in SPLITS:
        part = manifest.frame[manifest.frame["split"] == split]
        if part.empty:
            continue
        groups = part["group"].dropna().astype(int).value_counts().sort_index()
        lights = part["lighting"].value_counts()
        result[split] = {
            "n": len(part),
            "positives": int((part["label"] == 1).sum()),
            "groups": {str(group): int(n) for group, n in groups.items()},
            "lights": {light: int(lights[light]) for light in LIGHTS if light in lights},
        }
    return result


def _leaves_root(path: str) -> bool:
    posix, windows = PurePosixPath(path), PureWindowsPath(path)
    return (
        posix.is_absolute()
        or bool(windows.drive or windows.root)
        or ".." in posix.parts
        or ".." in windows.parts
        or "\0" in path
    )


def _rows(mask: Any) -> str:
    rows = np.flatnonzero(np.asarray(mask, dtype=bool))
    shown = ", ".join(str(row) for row in rows[:5])
    more = f" and {len(rows) - 5} more" if len(rows) > 5 else ""
    return f"row{'s' if len(rows) > 1 else ''} {shown}{more}"


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
                f"The manifest's column '{name}' is empty in {_rows(frame[name].isna())}."
            )
    if "image_id" not in frame:
        # Several crops of one file need distinct names.
        number = frame.groupby("path").cumcount().astype(str)
        several = frame["path"].duplicated(keep=False)
        frame["image_id"] = (
            frame["path"].astype(str).where(~several, frame["path"].astype(str) + "#" + number)
        )
    defaults: dict[str, Any] = {
        "group": pd.NA,
        "lighting": None,
        "source": "",
        "weight": 1.0,
        "cluster": frame["image_id"],
        "matched_set": None,
        **dict.fromkeys(_CROP, pd.NA),
    }
    for name, default in defaults.items():
        if name not in frame:
            frame[name] = default
    frame["cluster"] = frame["cluster"].astype("str").fillna(frame["image_id"].astype("str"))
    for name, kind in COLUMNS.items():
        if kind == "str":
            frame[name] = frame[name].astype("str")
            continue
        values = pd.to_numeric(frame[name], errors="coerce")
        wrong = values.isna() & frame[name].notna()
        if kind.lower().startswith("int"):
            wrong |= (values.notna() & ((values % 1 != 0) | (values.abs() > 127))).astype(bool)
        if kind[0].islower():
            wrong |= values.isna()
        if wrong.any():
            value = frame.loc[wrong, name].iloc[0]
            raise DataError(
                f"The manifest's column '{name}' holds {value!r}, not a number it can be, in "
                f"{_rows(wrong)}."
            )
        frame[name] = values.astype(kind)
    rest = [name for name in frame.columns if name not in COLUMNS]
    return frame[[*COLUMNS, *rest]]
