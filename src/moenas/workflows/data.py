"""``moenas data``: make or check a manifest; all commands resolve their images here."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import pandas as pd

from moenas.data.cache import cached_images
from moenas.data.manifest import Manifest, describe
from moenas.data.sources import SOURCES, recognise
from moenas.data.sources.coco import Rule
from moenas.data.sources.emoji import DRAWINGS as DRAWINGS
from moenas.data.sources.emoji import EmojiConfig, make_emoji_scenes
from moenas.data.sources.facet import Unit
from moenas.data.sources.joined import join_test_persons
from moenas.errors import DataError
from moenas.runs import RunFolder, cache_home
from moenas.training.job import DataReference

TITLES = {"cifar100": "CIFAR-100", "coco": "COCO", "facet": "FACET", "wake_vision": "Wake Vision"}


def make_manifest(
    source: str | Sequence[str],
    out: Path | str,
    *,
    config: EmojiConfig | None = None,
    rule: Rule = "vww",
    unit: Unit = "person",
) -> Path:
    """Make a manifest from a source, check all of it, and return its path.

    Args:
        source: ``emoji`` for drawn scenes; a folder of images or a CSV (see `read_folder`); the
            folder of CIFAR-100's binary version, of COCO or of Wake Vision, as they are published.
            Or two: FACET's folder, which has the test's persons, and another source, which trains
            and has the test's images without a person.
        out: Folder for the manifest and for images that are drawn or shown in another light; or the
            manifest file to write.
        config: Of drawn scenes.
        rule: Which image of COCO counts as one of a person.
        unit: What of FACET's images is shown.

    Raises:
        DataError: Something is wrong with the images; the message lists all of it.
    """
    names = [source] if isinstance(source, str) else list(source)
    out = Path(out)
    if names == ["emoji"]:
        manifest = make_emoji_scenes(out, config)
        path = manifest.root / "manifest.parquet"
    else:
        path = out if out.suffix == ".parquet" else out / "manifest.parquet"
        manifest = _read(names, path.parent, rule, unit)
    manifest.save(path)
    return path


def _read(names: list[str], folder: Path, rule: Rule, unit: Unit) -> Manifest:
    kinds = [recognise(name) for name in names]
    if len(names) == 1 and kinds[0] != "facet":
        return _read_one(names[0], kinds[0], folder, rule, with_persons=True)
    if len(names) != 2 or kinds.count("facet") != 1:
        if kinds == ["facet"]:
            raise DataError(
                f"'{names[0]}' is FACET, which has a person in every image and may not be trained "
                "on. Name a second source, which trains and has images without a person: "
                f"moenas data {names[0]} COCO_FOLDER"
            )
        raise DataError(
            f"Give one source, or FACET's folder and another, not {' '.join(names) or 'none'}."
        )
    if kinds[1] == "facet":
        names, kinds = names[::-1], kinds[::-1]
    persons = SOURCES["facet"](names[0], unit)
    base = _read_one(names[1], kinds[1], folder, rule, with_persons=False)
    return join_test_persons(persons, base, folder).checked()


def _read_one(
    name: str, kind: str | None, folder: Path, rule: Rule, *, with_persons: bool
) -> Manifest:
    """Read one source; what stands alone is checked, what is joined will be with the rest."""
    match kind:
        case "cifar100":
            manifest = SOURCES[kind](name, folder)
        case "coco":
            manifest = SOURCES[kind](name, rule, test_persons=with_persons)
        case "wake_vision":
            manifest = SOURCES[kind](name)
        case _:
            manifest = Manifest.load(name) if name.endswith(".parquet") else SOURCES["folder"](name)
            if with_persons:
                manifest.validate()
            return manifest
    return manifest.checked() if with_persons else manifest


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
    if kind := recognise(path):
        more = " COCO_FOLDER" if kind == "facet" else ""
        raise DataError(
            f"'{path}' is {TITLES[kind]}: make a manifest first, with 'moenas data {path}{more}'."
        )
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
