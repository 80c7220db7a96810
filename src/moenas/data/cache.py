"""The image cache: every image of a manifest, decoded once, in one memory-mapped file."""

from __future__ import annotations

import concurrent.futures
import dataclasses
import hashlib
import itertools
import json
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from moenas.atomic import atomic_file, remove_leftovers
from moenas.console import logger
from moenas.console import progress as progress_bar
from moenas.data.images import Box, crop_and_resize, read_image
from moenas.data.manifest import Manifest
from moenas.data.waiting import one_at_a_time
from moenas.errors import DataError
from moenas.parsing import parse_json
from moenas.runtime import available_cores

_FORMAT = b"moenas-images-1\n"
_HEAD = 4096
"""Bytes before the first pixel: the format, then how long the JSON at the file's end is."""

_SAMPLE = 4096
"""Bytes of a file's head and tail that its key depends on, besides its size and time."""


@dataclasses.dataclass(frozen=True)
class ImageStore:
    """Images as one array; row i is row i of the manifest.

    Attributes:
        images: [n, size, size, 3] uint8 RGB, memory-mapped, read-only.
        readable: [n] False where the image could not be read; those rows are black.
        errors: Row -> why it could not be read.
    """

    images: npt.NDArray[np.uint8]
    readable: npt.NDArray[np.bool_]
    errors: dict[int, str]

    def __len__(self) -> int:
        return len(self.images)

    @property
    def size(self) -> int:
        """Side of an image in pixels."""
        return int(self.images.shape[1])

    def skipped(self, manifest: Manifest) -> pd.DataFrame:
        """The rows of the manifest that could not be read, with a column ``error``."""
        rows = sorted(self.errors)
        frame = manifest.frame.iloc[rows].copy()
        frame["error"] = [self.errors[row] for row in rows]
        return frame


def cached_images(
    manifest: Manifest, size: int, cache_dir: Path | str, *, progress: bool = True
) -> ImageStore:
    """Return all images of a manifest at one size, from the cache or decoded now.

    The cache file's name derives from the manifest's paths and crops and from the image files'
    sizes, times and first and last bytes: other content is another file. Several processes may
    ask at once; one decodes, the others wait. A file that is damaged is made anew.

    Args:
        manifest: What to read.
        size: Side of the result in pixels; aspect ratios are not kept.
        cache_dir: Folder for cache files.
        progress: Show a progress bar.

    Returns:
        The store; images that cannot be read are black, marked, and reported by a warning.

    Raises:
        DataError: The manifest is empty, or none of its images can be read.
        RunFolderError: The cache cannot be written.
    """
    if not len(manifest):
        raise DataError("The manifest is empty: there are no images to read.")
    if size < 1:
        raise DataError(f"Images cannot be {size} pixels wide.")
    path = Path(cache_dir) / f"images-{size}px-{_key(manifest, size)}.bin"
    store = _open(path, len(manifest), size)
    if store is None:
        with one_at_a_time(path.with_suffix(".lock"), "decodes these images"):
            store = _open(path, len(manifest), size)  # another process may have made it meanwhile
            if store is None:
                _write(path, manifest, size, progress)
                store = _open(path, len(manifest), size)
    if store is None:
        raise DataError(f"The image cache '{path}' changed while it was read. Try again.")
    _report_skipped(store, manifest)
    return store


def _report_skipped(store: ImageStore, manifest: Manifest) -> None:
    if not store.errors:
        return
    skipped = store.skipped(manifest)
    where = ", ".join(
        f"{split}/{'person' if label else 'none'}/group {group}: {n}"
        for (split, label, group), n in skipped.groupby(
            ["split", "label", skipped["group"].astype("str").fillna("none")]
        )
        .size()
        .items()
    )
    first = next(iter(store.errors.values()))
    message = f"{len(skipped)} of {len(store)} images cannot be read ({where}). First: {first}"
    if len(skipped) == len(store):
        raise DataError(message)
    logger.warning("%s They are skipped.", message)


def _key(manifest: Manifest, size: int) -> str:
    hasher = hashlib.blake2b(_FORMAT + str(size).encode(), digest_size=10)
    paths = manifest.frame["path"].tolist()
    known: dict[str, bytes] = {}
    for path, box in zip(paths, manifest.boxes(), strict=True):
        if path not in known:
            known[path] = _signature(manifest.file(path))
            hasher.update(known[path])
        hasher.update(json.dumps([path, box]).encode())
    return hasher.hexdigest()


def _signature(file: Path) -> bytes:
    try:
        if not file.is_file():  # opening a pipe would wait for its writer
            return b"missing"
        with file.open("rb") as stream:
            status = file.stat()
            head = stream.read(_SAMPLE)
            stream.seek(max(0, status.st_size - _SAMPLE))
            tail = stream.read(_SAMPLE)
    except OSError:
        return b"missing"
    return f"{status.st_size} {status.st_mtime_ns}".encode() + head + tail


def _open(path: Path, count: int, size: int) -> ImageStore | None:
    """Map a cache file; None when there is none or it is damaged."""
    pixels = count * size * size * 3
    try:
        with path.open("rb") as file:
            head = file.read(_HEAD)
            if not head.startswith(_FORMAT):
                return None
            file.seek(_HEAD + pixels)
            facts: dict[str, Any] = parse_json(file.read())
        images = np.memmap(path, np.uint8, "r", _HEAD, (count, size, size, 3))
        errors = {int(row): str(why) for row, why in facts["errors"].items()}
        readable = np.ones(count, dtype=np.bool_)
        readable[list(errors)] = False
    except (OSError, ValueError, KeyError, IndexError, AttributeError, TypeError):
        return None
    if facts.get("crc") != _checksum(images):
        logger.warning("The image cache '%s' is damaged; it is made anew.", path)
        return None
    return ImageStore(images, readable, errors)


def _checksum(images: npt.NDArray[np.uint8]) -> int:
    crc = 0
    step = max(1, 2**24 // max(1, images[0].nbytes))
    for start in range(0, len(images), step):
        crc = zlib.crc32(np.ascontiguousarray(images[start : start + step]).data, crc)
    return crc


def _write(path: Path, manifest: Manifest, size: int, progress: bool) -> None:
    errors: dict[int, str] = {}
    crc, row = 0, 0
    remove_leftovers(path.parent, of=path.name)  # a killed process's may be gigabytes
    with atomic_file(path) as file, progress_bar() as bar:
        task = bar.add_task("Decoding", total=len(manifest), note="images", visible=progress)
        file.write(_FORMAT.ljust(_HEAD, b"\0"))
        for images, why in _decoded(manifest, size):
            crc = zlib.crc32(images.data, crc)
            file.write(images.data)
            errors.update({row + offset: text for offset, text in why.items()})
            row += len(images)
            bar.advance(task, len(images))
        file.write(json.dumps({"crc": crc, "errors": errors}).encode())


def _decoded(
    manifest: Manifest, size: int
) -> Iterator[tuple[npt.NDArray[np.uint8], dict[int, str]]]:
    """Yield consecutive rows' images, file by file, in order, with bounded memory."""
    paths = manifest.frame["path"].tolist()
    rows = zip(paths, manifest.boxes(), strict=True)
    files = ((p, [box for _, box in group]) for p, group in itertools.groupby(rows, lambda r: r[0]))
    workers = available_cores()
    # Decoding and resizing release Python's lock, so threads use all cores.
    with concurrent.futures.ThreadPoolExecutor(workers) as pool:
        waiting: list[concurrent.futures.Future[Any]] = []
        for path, boxes in files:
            waiting.append(pool.submit(_decode, manifest.file(path), boxes, size))
            if len(waiting) >= 4 * workers:
                yield waiting.pop(0).result()
        while waiting:
            yield waiting.pop(0).result()


def _decode(
    file: Path, boxes: list[Box | None], size: int
) -> tuple[npt.NDArray[np.uint8], dict[int, str]]:
    images = np.zeros((len(boxes), size, size, 3), dtype=np.uint8)
    errors: dict[int, str] = {}
    try:
        whole = all(box is None for box in boxes)
        image = read_image(file, near=(size, size) if whole else None)
    except DataError as error:
        return images, dict.fromkeys(range(len(boxes)), str(error))
    for row, box in enumerate(boxes):
        try:
            images[row] = crop_and_resize(image, box, size)
        except DataError as error:
            errors[row] = f"'{file}': {error}"
    return images, errors
