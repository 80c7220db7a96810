"""Prune a small trained model: the least used experts go as long as quality holds.

Tiny on purpose: some dozens of drawings of 32 pixels and two epochs, so that the numbers show
the procedure and nothing else. Needs the extra ``demo``.
"""

from __future__ import annotations

import dataclasses
import os
import tempfile
from pathlib import Path

import numpy as np
import torch

import moenas
from moenas.data.cache import cached_images
from moenas.data.dataset import ImageDataset
from moenas.data.sources.emoji import EmojiConfig, make_emoji_scenes
from moenas.runs import ModelFolder
from moenas.training.loop import train
from moenas.training.schemes import SCHEMES

SIZE = 32
SCENES = EmojiConfig(size=SIZE, train_scenes=64, val_scenes=24, search_scenes=6, report_scenes=1)


def main(folder: Path) -> None:
    torch.set_num_threads(1)
    manifest = make_emoji_scenes(folder, SCENES, progress=False)
    images = cached_images(manifest, SIZE, folder / "images", progress=False)
    labels, split = manifest.frame["label"].to_numpy(), manifest.frame["split"].to_numpy()

    model = moenas.build_model("mobilevitv2_050", (1, 1, 1, 1, 1, 1, 2, 3, 3), seed=0)
    scheme = dataclasses.replace(SCHEMES["mobilevitv2"], epochs=2, batch_size=32)
    trained = train(
        model,
        ImageDataset(images, labels, rows=np.flatnonzero(split == "train")),
        ImageDataset(images, labels, rows=np.flatnonzero(split == "val")),
        scheme,
        folder=ModelFolder(folder / "model"),
        device=torch.device("cpu"),
    ).model

    result = moenas.prune_experts(
        trained,
        manifest,
        image_size=SIZE,
        keep_above={"balanced_accuracy": 0.95},  # share of its starting value that must remain
        device="cpu",
    )
    for step in result.steps:
        gone = step.removed
        what = f"expert {gone['expert']} of {gone['layer']}" if gone else "nothing yet"
        accuracy = step.scores["balanced_accuracy"]
        print(f"{step.step}: {step.parameters:,} parameters, accuracy {accuracy:.3f}, gone: {what}")
    print(f"kept {result.accepted} removals; stopped: {result.stopped_because}")
    before = folder / "before.safetensors"
    after = folder / "after.safetensors"
    moenas.save_model(before, trained, image_size=SIZE)
    moenas.save_model(after, result.model, image_size=SIZE, threshold=result.threshold)
    print(f"file: {before.stat().st_size / 1e6:.2f} MB -> {after.stat().st_size / 1e6:.2f} MB")


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as name:
        os.environ["MOENAS_CACHE"] = name  # leave nothing behind
        main(Path(name))
