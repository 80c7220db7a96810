"""CSV files of published data sets: read as text, so that every wrong cell can be named."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from moenas.data.images import SUFFIXES
from moenas.data.walking import files_below
from moenas.errors import DataError
from moenas.parsing import read_csv, to_numbers

I64 = npt.NDArray[np.int64]


def read_table(file: Path, needs: Sequence[str]) -> pd.DataFrame:
    """Read a CSV; cells stay text as written, whatever they hold.

    Args:
        file: The CSV.
        needs: Columns that it must have.

    Raises:
        DataError: It is missing, no CSV, without rows, or without one of these columns.
    """
    try:
        frame = read_csv(file, dtype="str", keep_default_na=False, encoding="utf-8-sig")
    except FileNotFoundError:
        raise DataError(f"'{file}' does not exist.") from None
    except (OSError, ValueError) as error:
        raise DataError(f"'{file}' cannot be read as a CSV file: {error}") from error
    for name in needs:
        if name not in frame:
            raise DataError(
                f"'{file}' has no column '{name}'; it has {', '.join(map(repr, frame.columns))}."
            )
    if frame.empty:
        raise DataError(f"'{file}' has no rows.")
    return frame


def read_header(file: Path) -> list[str]:
    """Return the names of a CSV's columns; none where it cannot be read."""
    try:
        with file.open(encoding="utf-8-sig", errors="replace") as stream:
            return [name.strip().strip('"') for name in stream.readline().split(",")]
    except OSError:
        return []


def counts_of(frame: pd.DataFrame, columns: Sequence[str], file: Path) -> I64:
    """Return columns of whole numbers from 0, [n, columns]; empty cells are 0.

    Raises:
        DataError: A cell holds something else.
    """
    result = np.zeros((len(frame), len(columns)), dtype=np.int64)
    for place, name in enumerate(columns):
        text = frame[name].str.strip()
        values = to_numbers(text.where(text != "", "0")).to_numpy("float64")
        wrong = np.flatnonzero(~((values >= 0) & (values == np.floor(values)) & (values < 2**31)))
        if len(wrong):
            raise DataError(
                f"'{file}', row {wrong[0]}: {name} is {frame[name].iloc[wrong[0]]!r}, not a whole "
                "number from 0."
            )
        result[:, place] = values
    return result


def plurality(counts: I64, names: Sequence[str | None]) -> list[str | None]:
    """Return the name with most votes in each row of [n, names]; None without votes or in a tie."""
    top = counts.max(1)
    alone = (counts == top[:, None]).sum(1) == 1
    best = counts.argmax(1)
    return [names[b] if ok else None for b, ok in zip(best, alone & (top > 0), strict=True)]


def image_paths(folder: Path, below: Sequence[str] = (".",)) -> dict[str, str]:
    """Return the path (relative to ``folder``, with /) of each image file by its name.

    Args:
        folder: Where paths start.
        below: The subfolders to look in, at any depth; of equal names, the first counts.

    Raises:
        DataError: There is no image at all.
    """
    found: dict[str, str] = {}
    for start in below:
        for path in files_below(folder / start):
            if path.lower().endswith(SUFFIXES):
                whole = path if start == "." else f"{start}/{path}"
                found.setdefault(path.rpartition("/")[2], whole)
    if not found:
        where = " in " + ", ".join(f"{name}/" for name in below) if list(below) != ["."] else ""
        raise DataError(f"'{folder}' has no images{where}: unpack its archives of images there.")
    return found
