"""``moenas data``: make or check a manifest; all commands resolve their images here."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import pandas as pd

from moenas.config import fingerprint
from moenas.data.cache import cached_images
from moenas.data.counts import describe, in_words, sources_of
from moenas.data.manifest import Manifest
from moenas.data.sources.coco import Rule
from moenas.data.sources.emoji import EmojiConfig, make_emoji_scenes, note_on
from moenas.data.sources.facet import Unit
from moenas.data.sources.opening import DRAWN, checked, names_of, read_sources
from moenas.data.splits import SPLITS
from moenas.runs import RunFolder, cache_home
from moenas.serialisation import fingerprint_of
from moenas.training.job import DataReference


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
    names, out = names_of(source), Path(out)
    file = out.suffix == ".parquet"
    if names == (DRAWN,):
        manifest = make_emoji_scenes(out.parent if file else out, config)
        path = out if file else manifest.root / "manifest.parquet"
    else:
        path = out if file else out / "manifest.parquet"
        manifest = checked(read_sources(names, path.parent, rule, unit), names)
    manifest.save(path)
    return path


def open_manifest(
    data: str | Sequence[str], image_size: int, folder: Path | None = None
) -> Manifest:
    """Return the manifest of what ``data`` names, as `make_manifest` takes it, unchecked.

    Args:
        data: ``emoji``, a manifest file, a folder, a CSV or a published data set; or two of them.
        image_size: Side of drawn scenes, pixels.
        folder: Gets images that are unpacked, or shown in another light; by default a folder of the
            cache.

    Raises:
        DataError: There is no such thing.
    """
    names = names_of(data)
    if names == (DRAWN,):
        return make_emoji_scenes(cache_home() / "data", EmojiConfig(size=image_size))
    if folder is None:
        there = fingerprint([str(Path(name).resolve()) for name in names])
        folder = cache_home() / "data" / f"opened-{there}"
    return read_sources(names, folder)


def prepare(
    data: str | Sequence[str],
    image_size: int,
    run: RunFolder,
    protocol: Literal["held-out", "paper"] = "held-out",
    need_splits: Sequence[str] = SPLITS,
) -> DataReference:
    """Check the images once, decode them into the cache, and write the run's manifest.

    Args:
        data: See `open_manifest`.
        image_size: Side in pixels.
        run: Gets ``manifest.parquet``, and ``images/`` where some must be written. What is there
            already is used as it is.
        protocol: ``paper`` searches and reports on the same test images.
        need_splits: Splits that must have images of both classes.

    Raises:
        DataError: Something is wrong with the images.
    """
    reference = DataReference(str(run.manifest), str(cache_home() / "images"), image_size)
    if not run.manifest.exists():
        names = names_of(data)
        manifest = open_manifest(names, image_size, run.path)
        if names != (DRAWN,):  # drawn scenes were checked when they were drawn
            manifest = checked(manifest, names, need_splits)
        if protocol == "paper":
            manifest = _same_test_images(manifest)
        cached_images(manifest, image_size, reference.cache)
        manifest.save(run.manifest)
    return reference


def data_record(data: DataReference) -> dict[str, Any]:
    """Return what ``summary.json`` says about the images."""
    manifest = Manifest.load(data.manifest)
    sources = sources_of(manifest.frame)
    return {
        "source": in_words(sources),
        "counts": describe(manifest),
        "note": note_on(sources),
        "fingerprint": fingerprint_of(Path(data.manifest)),
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
    joined = pd.concat(parts, ignore_index=True)
    return Manifest(joined, manifest.root, manifest.labelling)
