"""Files with the same bytes: they must not be on two sides of a split."""

from __future__ import annotations

import concurrent.futures
import hashlib
from collections.abc import Callable, Iterable
from pathlib import Path

_TAIL = 4096
"""Bytes at a file's end that are compared first: of JPEGs, they differ where pictures do."""


def first_copies(root: Path, paths: Iterable[str]) -> dict[str, str]:
    """Return for each path the first path (in their order as text) whose file has the same bytes.

    Sizes are compared, then ends, then hashes, so that few files are read as a whole.

    Args:
        root: The folder that paths are relative to.
        paths: Files; those that cannot be read are copies of nothing.
    """
    names = sorted(set(paths))
    result = {name: name for name in names}
    groups = [names]
    with concurrent.futures.ThreadPoolExecutor() as pool:
        for feature in (_size, _tail, _digest):
            groups = _split(root, groups, feature, pool)
    for group in groups:
        result |= dict.fromkeys(group, group[0])
    return result


def _split(
    root: Path,
    groups: list[list[str]],
    feature: Callable[[Path], int | bytes],
    pool: concurrent.futures.ThreadPoolExecutor,
) -> list[list[str]]:
    """Divide groups of files by a feature; those alone in theirs are dropped."""

    def of(name: str) -> int | bytes | None:
        try:
            return feature(root / name)
        except OSError:
            return None

    members = [(number, name) for number, group in enumerate(groups) for name in group]
    found = pool.map(of, [name for _, name in members])
    parts: dict[tuple[int, int | bytes], list[str]] = {}
    for (number, name), value in zip(members, found, strict=True):
        if value is not None:
            parts.setdefault((number, value), []).append(name)
    return [part for part in parts.values() if len(part) > 1]


def _size(file: Path) -> int:
    if not file.is_file():  # opening a pipe would wait for its writer
        raise FileNotFoundError(file)
    return file.stat().st_size


def _tail(file: Path) -> bytes:
    with file.open("rb") as stream:
        stream.seek(max(0, file.stat().st_size - _TAIL))
        return hashlib.blake2b(stream.read(_TAIL), digest_size=10).digest()


def _digest(file: Path) -> bytes:
    return hashlib.blake2b(file.read_bytes(), digest_size=16).digest()
