"""Where images come from: each source makes a manifest.

To add one, write a function that returns a `Manifest` and register it in `SOURCES`.
"""

from __future__ import annotations

from collections.abc import Callable

from moenas.data.manifest import Manifest
from moenas.data.sources.cifar100 import make_cifar100
from moenas.data.sources.emoji import make_emoji_scenes
from moenas.data.sources.folder import read_folder
from moenas.registry import Registry

SOURCES: Registry[Callable[..., Manifest]] = Registry("data source")
"""Data sources by name."""

SOURCES.add("emoji", make_emoji_scenes)
SOURCES.add("folder", read_folder)
SOURCES.add("cifar100", make_cifar100)
