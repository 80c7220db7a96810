"""The card at the end of a file whose format has no place for it, with a hash of the rest.

It is a ZIP archive with one entry, appended as LiteRT's own metadata are: runtimes read the sizes
in their header and stop before it, ``unzip -p FILE moenas.json`` shows it. It is read, and the hash
is checked, before a runtime's own parser sees one byte. A hash finds damage; who wants to deceive
can make a new one.
"""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
from pathlib import Path

from moenas.errors import CheckpointError
from moenas.export.exported import read_file
from moenas.export.metadata import Details, content_of, read_content

ENTRY = "moenas.json"
MAX_CARD = 1 << 20
"""Bytes of the largest card that is read."""


def seal(
    content: bytes, details: Details, layers: list[str], kind: str, beside: bytes = b""
) -> bytes:
    """Return a file's bytes with its card behind them.

    Args:
        content: What the runtime reads.
        details: The card.
        layers: Names of the Switch FFNs.
        kind: Name of the format.
        beside: What its other file holds, hashed as well.
    """
    card = {**content_of(details, layers, kind), "sha256": _digest(content, beside)}
    end = io.BytesIO()
    end.write(content)
    with zipfile.ZipFile(end, "a", zipfile.ZIP_STORED) as archive:
        # A fixed date: equal models give equal files.
        archive.writestr(zipfile.ZipInfo(ENTRY, (1980, 1, 1, 0, 0, 0)), json.dumps(card))
    return end.getvalue()


def unseal(path: Path, beside: bytes = b"") -> tuple[bytes, Details, list[str]]:
    """Return what the runtime reads, the card, and the Switch FFNs' names.

    Raises:
        CheckpointError: The file is missing, damaged, or not one of ours.
    """
    data = read_file(path)
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            (entry,) = archive.infolist()
            if entry.filename != ENTRY or entry.compress_type != zipfile.ZIP_STORED:
                raise ValueError
            if entry.file_size > MAX_CARD:
                raise ValueError
            text = archive.read(entry)
            start = entry.header_offset
    except Exception as error:  # zipfile raises many kinds on hostile bytes
        raise CheckpointError(
            f"'{path}' was not exported by moenas, or is damaged: it has no card at its end."
        ) from error
    content = data[:start]
    details, layers = read_content(text, path, _digest(content, beside))
    return content, details, layers


def _digest(content: bytes, beside: bytes) -> str:
    result = hashlib.sha256(f"{len(content)} {len(beside)} ".encode())
    result.update(content)
    result.update(beside)
    return result.hexdigest()
