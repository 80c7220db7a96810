"""What a manifest holds: images by split, label, group and light, and where they come from."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas as pd

from moenas.data.manifest import Manifest
from moenas.data.splits import SPLITS
from moenas.predictions import LIGHTS


def describe(manifest: Manifest) -> dict[str, dict[str, Any]]:
    """Count images per split: ``{split: {"n", "positives", "groups": {}, "lights": {}}}``."""
    return count_images(manifest.frame)


OWN = "own images"
"""Images of which no source is known."""


def in_words(sources: Sequence[str]) -> str:
    """Say where images come from, given what `sources_of` returns."""
    return ", ".join(sources) or OWN


def sources_of(*frames: pd.DataFrame) -> list[str]:
    """Return where the images of tables come from, by name; none for a user's own."""
    named = (frame["source"].dropna() for frame in frames if "source" in frame)
    return sorted({str(name) for names in named for name in names.unique()} - {""})


def count_images(frame: pd.DataFrame) -> dict[str, dict[str, Any]]:
    """`describe` of a table with the columns ``split``, ``label``, ``group``, ``lighting``."""
    result: dict[str, dict[str, Any]] = {}
    for split in SPLITS:
        part = frame[frame["split"] == split]
        if part.empty:
            continue
        groups = part["group"].dropna().astype(int).value_counts().sort_index()
        lights = part["lighting"].value_counts()
        result[split] = {
            "n": len(part),
            "positives": int((part["label"] == 1).sum()),
            "groups": {str(group): int(n) for group, n in groups.items()},
            "lights": {light: int(lights[light]) for light in LIGHTS if light in lights},
        }
    return result
