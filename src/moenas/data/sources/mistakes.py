"""What a user may have meant who named data that cannot be read, for messages."""

from __future__ import annotations

import re
from pathlib import Path

from moenas.data.sources import recognise
from moenas.data.sources.cifar100 import FILES as CIFAR100
from moenas.errors import did_you_mean

TITLES = {"cifar100": "CIFAR-100", "coco": "COCO", "facet": "FACET", "wake_vision": "Wake Vision"}

KINDS = (
    "Give 'emoji' for drawn scenes, a manifest (.parquet), a CSV, a folder with person/ and "
    "no_person/, or the folder of COCO, FACET, Wake Vision or CIFAR-100's binary version."
)

ARCHIVES = (".zip", ".tar", ".tgz", ".gz", ".bz2", ".xz", ".7z", ".rar")


def similar(path: Path) -> str:
    """Return what is there instead of a name that is not: a similar one, or what can be named."""
    several = re.split(r"[,;\s]+", str(path))
    if len(several) > 1 and all(Path(each).exists() for each in several):
        return f"Write several names one after the other: {' '.join(several)}"
    try:
        beside = [each.name for each in path.parent.iterdir() if not each.name.startswith(".")]
    except OSError:
        return f"There is no folder '{path.parent}' either."
    return did_you_mean(path.name, [*beside, "emoji"], otherwise=KINDS)


def part_of(path: Path, kind: str | None = None) -> str | None:
    """Say that a path is in a published data set (of this kind); None where it is in none."""
    for folder in reversed(path.resolve().parents[:2]):
        found = recognise(folder)
        if found is not None and kind in (None, found):
            return f"'{path}' is a part of {TITLES[found]}: give the whole folder, '{folder}'."
    return None


def unfinished(path: Path) -> str | None:
    """Say what a file or folder lacks that seems to be of a published data set; None where none."""
    if path.suffix.lower() in ARCHIVES and path.is_file():
        return f"'{path}' is an archive: unpack it, and give the folder."
    if not path.is_dir():
        return None
    names = {each.name for each in path.iterdir()}
    wake = ("wake_vision_validation.csv", "wake_vision_test.csv")
    coco = [name for year in (2014, 2017) for name in (f"train{year}", f"val{year}")]
    if {"train", "test", "meta"} <= names:
        return (
            f"'{path}' is CIFAR-100's Python version, of pickles, which can run code: get the "
            "binary version."
        )
    for title, files in (("CIFAR-100", CIFAR100), ("Wake Vision", wake)):
        if names & set(files):
            lacks = ", ".join(name for name in files if name not in names)
            return f"'{path}' has a part of {title} only; it lacks {lacks}."
    for name in coco:
        if name in names:
            return f"'{path}' has images of COCO, but no annotations/instances_{name}.json."
    archives = sorted(name for name in names if Path(name).suffix.lower() in ARCHIVES)
    if archives:
        return f"'{path}' holds archives ({', '.join(archives[:3])}): unpack them there."
    return None
