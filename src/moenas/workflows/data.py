"""``moenas data``: make or check a manifest; all commands resolve their images here."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any, Literal

import pandas as pd

from moenas.data.cache import cached_images
from moenas.data.manifest import Manifest, describe
from moenas.data.sources import SOURCES
from moenas.data.sources.cifar100 import is_cifar100, make_cifar100
from moenas.data.sources.emoji import EmojiConfig, make_emoji_scenes
from moenas.errors import DataError
from moenas.runs import RunFolder, cache_home
from moenas.training.job import DataReference

DRAWINGS = (
    "These are drawings, not photographs: Emoji Scenes shows how the method works and how sure its "
    "numbers are, not how a model treats real people. Bring your own images for that."
)
"""What every page that shows numbers of the drawn scenes says."""


def make_manifest(source: str, out: Path | str, *, config: EmojiConfig | None = None) -> Path:
    """Make a manifest from a source, check all of it, and return its path.

    Args:
        source: ``emoji`` for drawn scenes; else a folder of images or a CSV (see `read_folder`),
            or the folder of CIFAR-100's binary version (see `make_cifar100`).
        out: Folder for drawn scenes and CIFAR-100's images, or the manifest file to write for a
            folder or CSV.
        config: Of drawn scenes.

    Raises:
        DataError: Something is wrong with the images; the message lists all of it.
    """
    if source == "emoji":
        manifest = make_emoji_scenes(out, config)
        path = manifest.root / "manifest.parquet"
    elif is_cifar100(Path(source)):
        path = Path(out) / "manifest.parquet"
        manifest = make_cifar100(source, out)
        manifest.validate()
    else:
        manifest = SOURCES["folder"](source)
        manifest.validate()
        path = Path(out)
        if path.suffix != ".parquet":
            path = path / "manifest.parquet"
    manifest.save(path)
    return path


def open_manifest(data: str, image_size: int) -> Manifest:
    """Return the manifest that ``data`` names: ``emoji``, a manifest file, a folder or a CSV.

    Raises:
        DataError: There is no such thing.
    """
    if data == "emoji":
        return make_emoji_scenes(cache_home() / "data", EmojiConfig(size=image_size))
    path = Path(data)
    if not path.exists():
        raise DataError(
            f"There is no data '{data}'. Give 'emoji' for drawn scenes, a manifest (.parquet), a "
            "CSV, or a folder with person/ and no_person/."
        )
    if path.suffix == ".parquet":
        return Manifest.load(path)
    if is_cifar100(path):
        raise DataError(f"'{path}' is CIFAR-100: make a manifest first, with 'moenas data {path}'.")
    manifest: Manifest = SOURCES["folder"](path)
    return manifest


def prepare(
    data: str, image_size: int, run: RunFolder, protocol: Literal["held-out", "paper"] = "held-out"
) -> DataReference:
    """Check the images once, decode them into the cache, and write the run's manifest.

    Args:
        data: See `open_manifest`.
        image_size: Side in pixels.
        run: Gets ``manifest.parquet``.
        protocol: ``paper`` searches and reports on the same test images.

    Raises:
        DataError: Something is wrong with the images.
    """
    reference = DataReference(str(run.manifest), str(cache_home() / "images"), image_size)
    if not run.manifest.exists():
        manifest = open_manifest(data, image_size)
        if data != "emoji":  # drawn scenes were checked when they were drawn
            manifest.validate()
        if protocol == "paper":
            manifest = _same_test_images(manifest)
        cached_images(manifest, image_size, reference.cache)
        manifest.save(run.manifest)
    return reference


def data_record(data: DataReference) -> dict[str, Any]:
    """Return what ``summary.json`` says about the images."""
    manifest = Manifest.load(data.manifest)
    sources = sorted(set(manifest.frame["source"].dropna()) - {""})
    return {
        "source": ", ".join(sources) or "own images",
        "counts": describe(manifest),
        "note": DRAWINGS if "emoji" in sources else None,
        "fingerprint": hashlib.sha256(Path(data.manifest).read_bytes()).hexdigest()[:16],
    }


def _same_test_images(manifest: Manifest) -> Manifest:
    """The paper's protocol: all test images are both searched and reported on."""
    frame = manifest.frame
    test = frame[frame["split"].isin(("search", "report"))]
    parts = [frame[~frame["split"].isin(("search", "report"))]]
    parts += [
        test.assign(split=split, image_id=test["image_id"] + f"@{split}")
        for split in ("search", "report")
    ]
    return Manifest(pd.concat(parts, ignore_index=True), manifest.root)
