"""What each of two processes runs for `test_processes`: ``python two_processes.py FOLDER DEVICE``.

It trains every case of `CASES` and leaves results beside the others'. Imported, it is the cases.
"""

from __future__ import annotations

import dataclasses
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

import small_bases  # noqa: F401 - registers the bases
from moenas.data.dataset import ImageDataset
from moenas.data.transforms import train_transform
from moenas.errors import ConfigError
from moenas.models.builder import build_model
from moenas.models.convert import upcycle
from moenas.runs import ModelFolder
from moenas.training import loop, processes
from moenas.training.loop import OutOfTime, TrainResult, train
from moenas.training.schemes import SCHEMES, Scheme
from moenas.training.step import Backward, Batch, Routings, plain_step

SCHEME = dataclasses.replace(
    SCHEMES["resnet"],
    epochs=2,
    batch_size=8,
    learning_rate=0.05,
    augmentation="light",
    ema_decay=0.9,
    gradient_clip=1.0,
    balance_weight=0.3,  # so that a wrong one shows
)
UNBALANCED = dataclasses.replace(SCHEME, balance_weight=0.0)


def frozen_norms(
    model: torch.nn.Module, batch: Batch, backward: Backward
) -> tuple[torch.Tensor, Routings]:
    """The whole model learns, but for its batch norms' statistics."""
    return plain_step(model.eval(), batch, backward)


CASES: dict[str, tuple[str, tuple[int, ...], Scheme, dict[str, Any]]] = {
    "vit": ("small_vit", (8, 1, 3), SCHEME, {}),
    "unbalanced": ("small_vit", (8, 1, 3), UNBALANCED, {}),
    "parts": ("small_vit", (8, 1, 3), UNBALANCED, {"accumulate": 2}),
    "adamw": (
        "small_vit",
        (2, 1, 3),
        dataclasses.replace(SCHEMES["mobilevitv2"], epochs=2, batch_size=8, augmentation="light"),
        {},
    ),
    "frozen": (
        "mobilevitv2_050",
        (2, 1, 1, 1, 1, 1, 1, 1, 3),
        dataclasses.replace(SCHEME, epochs=1),
        {"step": frozen_norms},
    ),
    "norms": ("mobilevitv2_050", (2, 1, 1, 1, 1, 1, 1, 1, 3), SCHEME, {}),
}


def trained(case: str, folder: Path, device: str = "cpu", **more: Any) -> TrainResult:
    """Train one of `CASES` on twenty-four pictures: a person is a bright upper half."""
    base, experts, scheme, options = CASES[case]
    rng = np.random.default_rng(0)
    labels = np.arange(24) % 2
    images = rng.integers(0, 90, size=(24, 32, 32, 3), dtype=np.uint8)
    images[labels == 1, :16] += 120
    return train(
        upcycle(build_model(base, seed=1), experts, seed=1),
        ImageDataset(images, labels, train_transform("light", 32), rows=np.arange(16)),
        ImageDataset(images, labels, rows=np.arange(16, 24)),
        scheme,
        folder=ModelFolder(folder),
        seed=3,
        device=torch.device(device),
        **{**options, **more},
    )


class Clock:
    """Past the deadline after the first step, in the main process alone."""

    def __init__(self) -> None:
        self.readings = 0

    def monotonic(self) -> float:
        self.readings += 1
        return 2.0 if self.readings == 1 and processes.index() == 0 else 0.0

    def perf_counter(self) -> float:
        return time.perf_counter()


def starved(step: Any, seen: list[int]) -> Any:
    """A step that notes how many experts got no token in this process."""

    def noting(model: torch.nn.Module, batch: Batch, backward: Backward) -> Any:
        result = step(model, batch, backward)
        seen.append(sum(int((r.counts == 0).sum()) for r in result[1].values()))
        return result

    return noting


def main(folder: Path, device: str) -> None:
    torch.set_num_threads(1)
    processes.join(torch.device(device))
    rank = processes.index()
    if device == "cuda":  # where batch norms see all images
        result = trained("norms", folder / "norms", device)
        torch.save((result.model.cpu().state_dict(), result.history), folder / f"norms-{rank}.pt")
        processes.part_company()
        return
    idle: list[int] = []
    for case in ("vit", "parts", "adamw", "frozen"):
        watch = {"step": starved(plain_step, idle)} if case == "vit" else {}
        result = trained(case, folder / case, **watch)
        torch.save((result.model.state_dict(), result.history), folder / f"{case}-{rank}.pt")
    clock, loop.time = loop.time, Clock()  # type: ignore[attr-defined]
    try:
        trained("vit", folder / "stopped", deadline=1.0)
    except OutOfTime:
        (folder / f"stopped-{rank}").touch()
    loop.time = clock  # type: ignore[attr-defined]
    result = trained("vit", folder / "stopped")
    torch.save((result.model.state_dict(), result.history), folder / f"stopped-{rank}.pt")
    try:
        processes.check_parts(9, 1)
    except ConfigError as error:
        (folder / f"refused-{rank}").write_text(str(error))
    (folder / f"idle-{rank}").write_text(str(max(idle)))
    processes.part_company()


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
