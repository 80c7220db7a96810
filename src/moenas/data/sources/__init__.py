"""Where images come from: each source makes a manifest.

To add one, write a function that returns a `Manifest` and register it in `SOURCES`.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from moenas.data.manifest import Manifest
from moenas.data.sources.cifar100 import is_cifar100, make_cifar100
from moenas.data.sources.coco import is_coco, make_coco
from moenas.data.sources.emoji import make_emoji_scenes
from moenas.data.sources.facet import is_facet, make_facet
from moenas.data.sources.folder import read_folder
from moenas.data.sources.wake_vision import is_wake_vision, make_wake_vision
from moenas.registry import Registry

SOURCES: Registry[Callable[..., Manifest]] = Registry("data source")
"""Data sources by name."""

SOURCES.add("emoji", make_emoji_scenes)
SOURCES.add("folder", read_folder)
SOURCES.add("cifar100", make_cifar100)
SOURCES.add("coco", make_coco)
SOURCES.add("facet", make_facet)
SOURCES.add("wake_vision", make_wake_vision)

_SIGNS: dict[str, Callable[[Path], bool]] = {
    "cifar100": is_cifar100,
    "coco": is_coco,
    "facet": is_facet,
    "wake_vision": is_wake_vision,
}


def recognise(path: Path | str) -> str | None:
    """Return which published data set a folder holds, by its files; None for any other."""
    return next((name for name, sign in _SIGNS.items() if sign(Path(path))), None)
