"""Time: what a run will cost before it starts, and how a limit is kept while it goes."""

from __future__ import annotations

import dataclasses
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

from moenas.data.dataset import ImageDataset
from moenas.data.transforms import train_transform
from moenas.evaluation.predict import probabilities
from moenas.models.builder import build_model
from moenas.models.cost import count_macs, count_parameters, layer_count
from moenas.nas.halving import FACTOR, Halving
from moenas.nas.settings import SearchConfig
from moenas.runs import ModelFolder
from moenas.runtime import best_precision
from moenas.training.loop import train
from moenas.training.recalibration import IMAGES
from moenas.training.sandwich import RANDOM_PARTS


@dataclasses.dataclass(frozen=True)
class Speed:
    """Measured seconds for one image on one worker, in training and in evaluation."""

    training: float
    evaluation: float


@dataclasses.dataclass(frozen=True)
class Estimate:
    """What a search will cost.

    Attributes:
        trials: Architectures trained in the search.
        trainings: All trainings: parents, trials, finalists.
        seconds_a_trial: On one worker.
        seconds: Of the whole run with its workers, data aside.
        bytes: Of the run folder, about.
    """

    trials: int
    trainings: int
    seconds_a_trial: float
    seconds: float
    bytes: int


class Clock:
    """The time that is left. Parts of it can be kept back for what must come at the end."""

    def __init__(self, limit: float | None) -> None:
        """Start the clock.

        Args:
            limit: Seconds from now, or None for no limit.
        """
        self.start = time.monotonic()
        self.deadline = None if limit is None else self.start + limit

    @classmethod
    def of(cls, minutes: float | None) -> Clock:
        """Start the clock of a limit in minutes, or of none."""
        return cls(None if minutes is None else 60 * minutes)

    @property
    def elapsed(self) -> float:
        """Seconds since the start."""
        return time.monotonic() - self.start

    def has(self, seconds: float) -> bool:
        """Whether so many seconds are left."""
        return self.deadline is None or time.monotonic() + seconds <= self.deadline


def measure_speed(config: SearchConfig, device: torch.device) -> Speed:
    """Time a few training steps and evaluation batches of the base model."""
    model = build_model(config.base, seed=0)
    rng = np.random.default_rng(0)
    side = config.image_size
    scheme = config.training(1, tuning=False)
    images = rng.integers(0, 256, (2 * scheme.batch_size, side, side, 3), dtype=np.uint8)
    labels = np.arange(len(images)) % 2
    data = ImageDataset(images, labels, train_transform(scheme.augmentation, side))
    few = ImageDataset(images[:8], labels[:8])
    with tempfile.TemporaryDirectory() as folder:
        scheme = dataclasses.replace(scheme, epochs=2)  # the first one warms up
        result = train(
            model,
            data,
            few,
            scheme,
            folder=ModelFolder(Path(folder)),
            device=device,
            precision=best_precision(device),
        )
    training = result.history[-1].seconds / len(images)
    start = time.perf_counter()
    probabilities(model, images, device=device)
    return Speed(training, (time.perf_counter() - start) / len(images))


def estimate(config: SearchConfig, counts: dict[str, int], speed: Speed, workers: int) -> Estimate:
    """Price a search.

    Args:
        config: Its settings.
        counts: Images by split.
        speed: Measured on the base model; other models scale with their multiply-adds.
        workers: How many trainings run at once.
    """

    def cost(base: str) -> float:
        ones = (1,) * layer_count(base)
        return count_macs(base, ones, config.image_size)

    def job(epochs: float, scale: float, *splits: str) -> float:
        scheme = config.training(epochs, tuning=False)
        scored = sum(counts[split] for split in splits)
        seen = epochs * counts["train"] * speed.training
        judged = scheme.epochs_begun(counts["train"]) * counts["val"] + scored
        return scale * (seen + judged * speed.evaluation)

    bases = {config.base: 1.0}
    if config.wider_base is not None:
        bases[config.wider_base] = cost(config.wider_base) / cost(config.base)
    searched = [bases[base] for base in config.searched_bases]
    typical = sum(searched) / len(searched)  # of a trial or finalist
    halving, seeds = Halving(config.rungs), config.seeds
    trial = sum(
        job(config.trial_epochs * halving.share(rung), typical, "search") / FACTOR**rung
        for rung in range(config.rungs)
    )
    parents = [job(config.parent_epochs, scale, "search") * seeds for scale in bases.values()]
    own = config.search_parents
    parents += [job(config.parent_epochs, bases[base], "search") for base in own]
    finals = [
        job(config.finalist_epochs, scale, "search", "report") * seeds
        for scale in (*bases.values(), *[typical] * config.finalists)
    ]
    nets: list[float] = []
    if config.strategy == "supernet":
        looked_at = IMAGES + counts["val"] + counts["search"]
        trial = typical * looked_at * speed.evaluation
        width = 2 + RANDOM_PARTS  # of the sandwich
        nets = [width * job(config.supernet_epochs, scale, "search") for scale in searched]
    dense = count_parameters(config.base, (1,) * layer_count(config.base))
    middle = (dense + config.max_parameters) / 2
    others = len(own) + seeds * (2 * len(bases) + config.finalists)
    trainings = (len(nets) or config.trials) + others
    judged = config.trials + others
    return Estimate(
        trials=config.trials,
        trainings=trainings,
        seconds_a_trial=trial,
        seconds=(sum(parents) + sum(nets) + sum(finals) + config.trials * trial) / workers,
        bytes=int(trainings * 4 * middle + judged * 60 * (counts["search"] + counts["val"])),
    )
