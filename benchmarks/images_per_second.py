"""How fast images come to the model: our cache beside torchvision's ImageFolder, in one run.

The files are JPEGs of a photograph's size (500 x 375, quality 90): Emoji Scenes with the grain of a
sensor, so that they weigh what photographs weigh. Both ways end in what a model takes: batches of
float32, normalised, 96 x 96. The ways run in turns, with as many worker processes and one thread.

deliver   images a second of one epoch, as training reads them: from the cache, and decoded by
          ImageFolder (through Pillow, as everybody uses it; through torchvision's own decoder)
start     images a second of the first start (decode, resize, write the cache) and of the second
          one (find the cache and check it), with all cores

Run it with ``python benchmarks/images_per_second.py``; ``--quick`` only shows that it works.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch.utils.data import DataLoader
from torchvision.datasets import ImageFolder
from torchvision.io import ImageReadMode, decode_image
from torchvision.transforms import v2

from moenas.data.cache import cached_images
from moenas.data.dataset import IMAGENET_MEAN, IMAGENET_STD, ImageDataset, collate, normalise
from moenas.data.manifest import Manifest
from moenas.data.parallel import parallel_map
from moenas.data.sources.emoji import EmojiConfig, plan_scenes
from moenas.data.sources.emoji_scenes import Scene, render_scene
from moenas.data.sources.folder import read_folder
from moenas.data.transforms import train_transform
from moenas.runtime import available_cores, keep_freed_memory
from moenas.timing import interleaved

SIZE, BATCH = 96, 128
WIDTH, HEIGHT, QUALITY = 500, 375, 90
GRAIN = 12
"""Noise of the files, grey levels: makes them 80 kB, as photographs of this size are."""

GOAL = 5.0
AUGMENTATIONS = ("none", "crop", "randaugment")


# ------------------------------------------------------------------------------------ the files


def write_photos(folder: Path, count: int) -> None:
    half = count // 2
    config = EmojiConfig(train_scenes=half, val_scenes=1, search_scenes=1, report_scenes=1)
    scenes = [s for s in plan_scenes(config) if s.name.startswith("train")]
    list(parallel_map(_Photo(folder), list(enumerate(scenes))))


class _Photo:
    """Draws a scene, cut to a photograph's shape, with grain; picklable."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __call__(self, job: tuple[int, Scene]) -> None:
        number, scene = job
        config = EmojiConfig()
        scale = (config.scale_low, config.scale_high)
        pixels = render_scene(scene, WIDTH, config.clutter, scale)[0]
        top = (WIDTH - HEIGHT) // 2
        grain = np.random.default_rng(number).normal(0, GRAIN, (HEIGHT, WIDTH, 3))
        photo = np.clip(pixels[top : top + HEIGHT] + grain, 0, 255).astype(np.uint8)
        place = self.folder / ("person" if scene.label else "no_person")
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray(photo).save(place / f"{scene.name}.jpg", quality=QUALITY)


# --------------------------------------------------------------------------------- the two ways


Way = Callable[[], int]
"""One epoch; returns how many images came."""


def ours(manifest: Manifest, cache: Path, augmentation: str, workers: int) -> Way:
    """The cache, as `moenas.training.loop.train` reads it."""
    store = cached_images(manifest, SIZE, cache, progress=False)
    labels = manifest.frame["label"].to_numpy()
    data = ImageDataset(store, labels, train_transform(augmentation, SIZE))
    loader: DataLoader[Any] = DataLoader(
        data, BATCH, shuffle=True, num_workers=workers, collate_fn=collate
    )
    return lambda: sum(len(normalise(images)) for images, _, _ in loader)


def folder_way(folder: Path, augmentation: str, workers: int, decoder: str) -> Way:
    """ImageFolder and DataLoader of torchvision: decode, augment or resize, normalise."""
    steps: list[Any] = [v2.Resize((SIZE, SIZE), antialias=True)]
    if augmentation != "none":  # the same augmentation, on the whole file as is usual
        steps = [train_transform(augmentation, SIZE)]
    if decoder == "Pillow":
        steps = [*steps, v2.ToImage()]
    steps += [v2.ToDtype(torch.float32, scale=True), v2.Normalize(IMAGENET_MEAN, IMAGENET_STD)]
    more = {} if decoder == "Pillow" else {"loader": _decode}
    loader: DataLoader[Any] = DataLoader(
        ImageFolder(folder, v2.Compose(steps), **more), BATCH, shuffle=True, num_workers=workers
    )
    return lambda: sum(len(images) for images, _ in loader)


def _decode(path: str) -> torch.Tensor:
    return decode_image(path, ImageReadMode.RGB)


# ---------------------------------------------------------------------------------- measurements


def deliver(folder: Path, cache: Path, rounds: int, quick: bool) -> Iterator[dict[str, Any]]:
    manifest = read_folder(folder)
    for augmentation in AUGMENTATIONS[: 1 if quick else None]:
        for workers in (0, 2):
            ways = {
                "cache": ours(manifest, cache, augmentation, workers),
                "Pillow": folder_way(folder, augmentation, workers, "Pillow"),
                "decode_image": folder_way(folder, augmentation, workers, "decode_image"),
            }
            timing = interleaved(ways, rounds, warm_up=1)
            speeds = {name: len(manifest) / timing.quartile(name) for name in ways}
            for peer in ("Pillow", "decode_image"):
                yield {
                    "case": f"cache vs ImageFolder ({peer}), {augmentation}, {workers} workers",
                    "value": round(timing.ratio(peer, "cache"), 2),
                    "unit": "times",
                    "peer": f"{speeds['cache']:,.0f} and {speeds[peer]:,.0f} images/s",
                    "goal": GOAL if augmentation == "none" and peer == "Pillow" else None,
                    "better": "higher",
                }


def start(folder: Path, rounds: int) -> Iterator[dict[str, Any]]:
    manifest = read_folder(folder)
    first, second = [], []
    for _ in range(rounds):
        with tempfile.TemporaryDirectory() as cache:
            for seconds in (first, second):
                begin = time.perf_counter(), time.process_time()
                cached_images(manifest, SIZE, cache, progress=False)
                seconds.append((time.perf_counter() - begin[0], time.process_time() - begin[1]))
    for name, seconds in (("first start (decodes)", first), ("second start (reads)", second)):
        wall, cpu = min(seconds)
        yield {
            "case": name,
            "value": round(len(manifest) / wall),
            "unit": "images/s",
            "peer": f"{cpu / wall:.2f} of {available_cores()} cores busy",
            "goal": None,
            "better": "higher",
        }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--quick", action="store_true")
    options = parser.parse_args()
    images, rounds = (64, 1) if options.quick else (options.images, options.rounds)
    torch.set_num_threads(1)
    keep_freed_memory()  # as every command that trains does
    results = []
    print(f"{'case':<58}{'value':>10} {'unit':<9}{'goal':>5}  peer")
    with tempfile.TemporaryDirectory() as temporary:
        folder, cache = Path(temporary) / "photos", Path(temporary) / "cache"
        write_photos(folder, images)
        sizes = [file.stat().st_size for file in folder.rglob("*.jpg")]
        print(f"{len(sizes)} JPEG files of {WIDTH} x {HEIGHT}, {np.mean(sizes) / 1e3:.0f} kB each")
        for part in (start(folder, rounds), deliver(folder, cache, rounds, options.quick)):
            for row in part:
                results.append(row)
                missed = row["goal"] is not None and row["value"] < row["goal"]
                print(
                    f"{row['case']:<58}{row['value']:>10,} {row['unit']:<9}{row['goal'] or '':>5}  "
                    f"{row['peer']}{'  MISSED' * missed}",
                    flush=True,
                )
    if options.json:
        options.json.write_text(json.dumps(results, indent=2) + "\n")


if __name__ == "__main__":
    main()
