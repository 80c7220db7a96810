"""JSON and tables in files: strict, whole, and read with bounds; see `moenas.parsing`."""

from __future__ import annotations

import hashlib
import io
import json
import math
from pathlib import Path
from typing import Any

import pandas as pd

from moenas import parsing
from moenas.atomic import explained, write_bytes, write_text
from moenas.errors import RunFolderError


def json_safe(value: Any) -> Any:
    """Return data that strict JSON can hold: NaN and infinity become null, keys texts."""
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, dict):
        return {str(key): json_safe(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [json_safe(item) for item in value]
    return value


def json_text(value: Any) -> str:
    """Return strict JSON, one value a line (NaN and infinity become null)."""
    return json.dumps(json_safe(value), indent=2, allow_nan=False) + "\n"


def write_json(path: Path, value: Any) -> None:
    """Write strict JSON atomically; see `json_text`."""
    write_text(path, json_text(value))


def read_json(path: Path) -> Any:
    """Read a JSON file.

    Raises:
        RunFolderError: It is missing or damaged.
    """
    try:
        return parsing.read_json(path)
    except FileNotFoundError:
        raise RunFolderError(f"'{path}' does not exist.") from None
    except (OSError, ValueError) as error:
        raise RunFolderError(f"'{path}' cannot be read: {error}.") from error


def write_parquet(path: Path, frame: pd.DataFrame) -> None:
    """Write a table atomically, with a hash of all of it; every reader of Parquet reads it."""
    buffer = io.BytesIO()
    frame.to_parquet(buffer, index=False)
    pages, footer = _split_at_footer(buffer.getvalue())
    # Readers find the footer from the end and the pages from the start: between is room.
    write_bytes(path, pages + _MARK + hashlib.sha256(pages + footer).digest() + footer)


_MARK = b"moenas-sha256:"


def _split_at_footer(data: bytes) -> tuple[bytes, bytes]:
    start = len(data) - 8 - int.from_bytes(data[-8:-4], "little")
    return data[: max(0, start)], data[max(0, start) :]


def read_parquet(path: Path | str) -> pd.DataFrame:
    """Read a table; one of ours in which a byte was changed is noticed.

    Raises:
        OSError: It cannot be read.
        ValueError: It is damaged, or no such table.
    """
    path = Path(path)
    parsing.refuse_folder(path)
    data = path.read_bytes()
    pages, footer = _split_at_footer(data)
    end = len(pages) - hashlib.sha256().digest_size
    if pages[: max(0, end)].endswith(_MARK):
        own = pages[: end - len(_MARK)]
        if hashlib.sha256(own + footer).digest() != pages[end:]:
            raise ValueError("it was damaged after it was written")
    return parsing.read_parquet(io.BytesIO(data))


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file's content, 64 hex digits.

    Raises:
        RunFolderError: It cannot be read.
    """
    with explained(path), path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def fingerprint_of(path: Path) -> str:
    """Return the first 16 digits of `sha256_of`: short enough to be read by people."""
    return sha256_of(path)[:16]
