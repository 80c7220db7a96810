"""What a user names as data becomes a manifest: one source, or FACET's folder and another."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from moenas.data.manifest import Manifest
from moenas.data.sources import SOURCES, recognise
from moenas.data.sources.coco import Rule
from moenas.data.sources.facet import Unit
from moenas.data.sources.joined import join_test_persons
from moenas.data.sources.mistakes import part_of, similar, unfinished
from moenas.data.splits import SPLITS
from moenas.errors import DataError

DRAWN = "emoji"
"""Names the drawn scenes, which are no file."""


def names_of(data: str | Path | Iterable[str | Path]) -> tuple[str, ...]:
    """Return what is named, as a tuple: one name needs none around it."""
    return (str(data),) if isinstance(data, str | Path) else tuple(str(name) for name in data)


def check_names(names: Sequence[str]) -> None:
    """Refuse what is not there, or cannot be put together.

    Raises:
        DataError: A name is no file or folder, or they are not one source, or FACET and another.
    """
    for name in names:
        if name != DRAWN and not Path(name).exists():
            raise DataError(f"There is no file or folder '{name}'. {similar(Path(name))}")
        kind = None if name == DRAWN else recognise(name)
        if kind and (whole := part_of(Path(name), kind)):
            raise DataError(whole)
    kinds = [None if name == DRAWN else recognise(name) for name in names]
    if len(names) == 1 and kinds[0] != "facet":
        return
    if kinds == ["facet"]:
        raise DataError(
            f"'{names[0]}' is FACET, which has a person in every image and may not be trained on. "
            "Name a second source beside it, which trains and has images without a person: "
            f"{names[0]} COCO_FOLDER"
        )
    if len(names) != 2 or kinds.count("facet") != 1:
        for name, kind in zip(names, kinds, strict=True):
            if name != DRAWN and kind is None and (told := _meant(name)):
                raise DataError(told)
        raise DataError(
            f"Give one source, or FACET's folder and another, not {' '.join(names) or 'none'}."
        )
    if DRAWN in names:
        raise DataError("FACET's photographs and drawn scenes cannot be put together.")


def _meant(name: str) -> str | None:
    return part_of(Path(name)) or unfinished(Path(name))


def read_sources(
    names: Sequence[str], folder: Path, rule: Rule = "vww", unit: Unit = "person"
) -> Manifest:
    """Return the manifest of what is named, the drawn scenes apart; no image is checked yet.

    Args:
        names: One source, or FACET's folder and another, in any order.
        folder: Gets images that are unpacked, or shown in another light.
        rule: Which image of COCO counts as one of a person.
        unit: What of FACET's images is shown.

    Raises:
        DataError: Something is not there or not as published; the message says what and where.
    """
    check_names(names)
    if len(names) == 1:
        return _read_one(names[0], folder, rule, test_persons=True)
    facet, other = sorted(names, key=lambda name: recognise(name) != "facet")
    persons: Manifest = SOURCES["facet"](facet, unit)
    return join_test_persons(persons, _read_one(other, folder, rule, test_persons=False), folder)


def _read_one(name: str, folder: Path, rule: Rule, *, test_persons: bool) -> Manifest:
    manifest: Manifest
    match recognise(name):
        case "cifar100":
            manifest = SOURCES["cifar100"](name, folder)
        case "coco":
            manifest = SOURCES["coco"](name, rule, test_persons=test_persons)
        case "wake_vision":
            manifest = SOURCES["wake_vision"](name)
        case _ if name.endswith(".parquet"):
            manifest = Manifest.load(name)
        case _:
            try:
                manifest = SOURCES["folder"](name)
            except DataError:
                if told := _meant(name):
                    raise DataError(told) from None
                raise
    return manifest


def checked(
    manifest: Manifest, names: Sequence[str], need_splits: Sequence[str] = SPLITS
) -> Manifest:
    """Check every image and return the manifest of those that can be used.

    Of published data sets a few damaged images are left out; one's own must all be readable.

    Args:
        manifest: The images.
        names: Where they are from.
        need_splits: Splits that must have images of both classes.

    Raises:
        DataError: Lists all that is wrong.
    """
    if len(names) == 1 and recognise(names[0]) is None:
        manifest.validate(need_splits=need_splits)
        return manifest
    return manifest.checked(need_splits)
