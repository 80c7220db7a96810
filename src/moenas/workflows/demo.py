"""``moenas demo``: the whole path on drawn scenes, small enough for a laptop."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from moenas.console import console
from moenas.data.sources.emoji import EmojiConfig
from moenas.nas.settings import SearchConfig
from moenas.runs import cache_home
from moenas.workflows.data import make_manifest
from moenas.workflows.search import SearchResult, search
from moenas.workflows.settings import Resources

SCENES = EmojiConfig(
    size=96,
    train_scenes=4200,
    val_scenes=400,
    search_scenes=70,
    report_scenes=140,
    openmoji_share=0.8,
    clutter=0.05,
    scale_low=0.85,
    scale_high=1.0,
)
"""The demo's images: as hard as a model can learn in minutes on a laptop."""

SETTINGS = SearchConfig(
    image_size=96,
    widths=False,
    trials=24,
    parent_epochs=1,
    trial_epochs=0.09,
    finalist_epochs=0.16,
    batch_size=32,
    learning_rate=3e-3,
    weight_decay=4.0,
    tuning_rate=0.25,
    augmentation="none",
    small_share=1.0,
)
"""The demo's search, of experts alone: a second width would take too long. Parents learn on small
images, what descends from them on whole ones. No parent sees an image twice: over as many steps,
three passes over fewer images taught less."""


def demo(run: Path | str = Path("runs/demo"), resources: Resources | None = None) -> SearchResult:
    """Draw scenes, search, and report.

    Args:
        run: The run folder; an unfinished demo goes on.
        resources: Where and how long to compute.

    Raises:
        MissingDependencyError: The extra ``demo`` is not installed.
    """
    console.print("[bold]MoENAS demo[/bold]: drawn people and objects, ten skin tones, four lights")
    manifest = make_manifest("emoji", cache_home() / "data", config=SCENES)
    return search(dataclasses.replace(SETTINGS, data=(str(manifest),)), run, resources)
