"""Files that anybody may have written: parsed within bounds, with two kinds of errors only.

The parsers of JSON, CSV and Parquet raise a dozen kinds of errors on damaged bytes, and unpack a
small file to any size. Here each is an ``OSError`` (the file) or a ``ValueError`` (what it holds).
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow.parquet as pq

MAX_JSON = 1 << 29
"""Bytes of the largest JSON file that is parsed."""

MAX_CELLS = 1 << 29
"""Of the largest table that is read; six million rows of 30 columns have a third of it."""

MAX_UNPACKED = 1 << 34
"""Bytes that the columns of a Parquet file may say they unpack to."""


def parse_json(text: bytes | str) -> Any:
    """Return what JSON says; NaN and infinity are numbers.

    Raises:
        ValueError: It is no JSON, or nested too deeply.
    """
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def read_json(path: Path | str) -> Any:
    """Return what a JSON file says; see `parse_json`.

    Raises:
        OSError: It is missing or cannot be read.
        ValueError: It is no JSON file, or larger than `MAX_JSON`.
    """
    with Path(path).open("rb") as file:
        text = file.read(MAX_JSON + 1)
    if len(text) > MAX_JSON:
        raise ValueError(f"it has more than {MAX_JSON} bytes")
    return parse_json(text)


def read_csv(path: Path | str, **options: Any) -> pd.DataFrame:
    """Return ``pandas.read_csv`` of a local file that is not compressed, whatever its name.

    Raises:
        OSError: It is missing or cannot be read.
        ValueError: It is no CSV file.
    """
    refuse_folder(path)
    with Path(path).open("rb") as file:  # a name may be a URL or an archive to pandas
        try:
            return pd.read_csv(file, **options)
        except (OSError, ValueError):
            raise
        except Exception as error:  # on foreign bytes: IndexError, OverflowError, MemoryError, ...
            raise ValueError(f"{type(error).__name__}: {error}") from error


def read_parquet(path: Path | str | BinaryIO) -> pd.DataFrame:
    """Return ``pandas.read_parquet`` of a local file whose size is told by its footer first.

    Args:
        path: The file, or its bytes as an open one.

    Raises:
        OSError: It is missing or cannot be read.
        ValueError: It is no Parquet file, or unpacks to more than `MAX_CELLS` or `MAX_UNPACKED`.
    """
    if isinstance(path, Path | str):
        refuse_folder(path)
        with Path(path).open("rb") as file:
            return read_parquet(file)
    try:
        _check_unpacked(pq.read_metadata(path))
        path.seek(0)
        return pd.read_parquet(path)
    except (OSError, ValueError):
        raise
    except Exception as error:  # Arrow's and pandas' own have no common base
        raise ValueError(f"{type(error).__name__}: {error}") from error


def refuse_folder(path: Path | str) -> None:
    """Refuse a table in parts: what bounds one file does not bound a folder of them.

    Raises:
        ValueError: It is a folder.
    """
    if Path(path).is_dir():
        raise ValueError("it is a folder, and a table is one file")


def to_numbers(values: pd.Series) -> pd.Series:
    """Return ``pandas.to_numeric`` in which what is no number, or too large for one, is NaN."""
    try:
        return pd.to_numeric(values, errors="coerce")
    except (OverflowError, TypeError, ValueError):
        return values.map(_number).astype("float64")


def not_text(values: pd.Series) -> npt.NDArray[np.bool_]:
    """[n] where a cell is bytes that are no UTF-8: of all others a text can be made."""
    if not isinstance(values.dtype, pd.CategoricalDtype) and values.dtype != object:
        return np.zeros(len(values), dtype=np.bool_)
    return np.fromiter((_is_not_utf8(value) for value in values), np.bool_, len(values))


def _is_not_utf8(value: Any) -> bool:
    if not isinstance(value, bytes):
        return False
    try:
        value.decode()
    except UnicodeDecodeError:
        return True
    return False


def not_unicode(text: str) -> bool:
    """Whether a text, a file's name on Linux, say, holds bytes that are no UTF-8."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return True
    return False


def _number(value: Any) -> float:
    if np.ndim(value):  # numpy makes a number of a list of one
        return math.nan
    try:
        return float(value)
    except (OverflowError, TypeError, ValueError):
        return math.nan


def _check_unpacked(footer: pq.FileMetaData) -> None:
    # Not the columns' own metadata: pyarrow ends the process where these contradict each other.
    groups = [footer.row_group(number) for number in range(footer.num_row_groups)]
    rows = max(footer.num_rows, sum(group.num_rows for group in groups))
    cells, size = rows * footer.num_columns, sum(group.total_byte_size for group in groups)
    if cells > MAX_CELLS or size > MAX_UNPACKED:
        raise ValueError(
            f"it would unpack to {cells} cells in {size} bytes, more than {MAX_CELLS} in "
            f"{MAX_UNPACKED}"
        )
