"""``moenas train``: train one architecture and score it."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path

import torch

from moenas.config import to_dict
from moenas.console import progress
from moenas.models.architecture import Architecture
from moenas.models.builder import build_model
from moenas.models.cost import count_parameters
from moenas.nas.settings import SearchConfig
from moenas.report.card.writing import leave_cards
from moenas.runs import RunFolder
from moenas.runtime import fastest_threads, keep_freed_memory, pick_device
from moenas.training.job import TrainingJob, run_job
from moenas.training.loop import EpochRecord
from moenas.training.outcome import JobResult
from moenas.workflows.data import prepare
from moenas.workflows.settings import Resources


@dataclasses.dataclass(frozen=True)
class TrainConfig:
    """One training.

    Attributes:
        architecture: A base model's name, or an architecture's id with its expert counts.
        data: ``emoji``, a manifest, a CSV or a folder.
        epochs: Passes over the training images; the last one may be a part.
        image_size: Side of the images, pixels.
        parent: Run folder of a trained dense model to upcycle; None: start anew.
        pretrained: Start from timm's ImageNet weights, or from a local file of them.
        scheme: Name of the training scheme.
        batch_size: Images per step; None: the scheme's.
        learning_rate: Peak; None: the scheme's.
        weight_decay: None: the scheme's, which is for long trainings (see `SearchConfig`).
        augmentation: Training transform; None: the scheme's.
        seed: Of everything.
    """

    architecture: str = "mobilevitv2_050"
    data: str = "emoji"
    epochs: float = 100
    image_size: int = 128
    parent: Path | None = None
    pretrained: bool | str = False
    scheme: str = "mobilevitv2"
    batch_size: int | None = None
    learning_rate: float | None = None
    weight_decay: float | None = None
    augmentation: str | None = None
    seed: int = 0


def train(config: TrainConfig, run: Path | str, resources: Resources | None = None) -> JobResult:
    """Train one architecture; an interrupted training goes on.

    Args:
        config: What to train.
        run: The run folder; the model lies in ``model/``.
        resources: Where and how long.

    Returns:
        Scores on the search and the report half.
    """
    resources = resources or Resources()
    name = config.architecture
    architecture = Architecture.parse(name) if "-e" in name else Architecture.dense_base(name)
    count_parameters(architecture.base, architecture.experts)  # refuses an unknown base model
    recipe = SearchConfig(
        scheme=config.scheme,
        batch_size=config.batch_size,
        learning_rate=config.learning_rate,
        weight_decay=config.weight_decay,
        augmentation=config.augmentation,
    )
    scheme = recipe.training(config.epochs, tuning=config.parent is not None)
    folder = RunFolder.create(run, "train", to_dict(config))
    keep_freed_memory()
    with folder.locked():
        job = TrainingJob(
            architecture=architecture.id,
            folder=str(folder.model().path),
            data=prepare(config.data, config.image_size, folder),
            scheme=scheme,
            seed=config.seed,
            parent=None if config.parent is None else str(RunFolder(config.parent).model().path),
            pretrained=config.pretrained,
            score=("search", "report"),
            device=resources.device,
            precision=resources.precision(),
            deadline=resources.deadline(),
        )
        _choose_threads(architecture, config.image_size, resources.device)
        with progress() as bar:
            task = bar.add_task("Epochs", total=math.ceil(config.epochs), note="")

            def show(record: EpochRecord) -> None:
                note = f"loss {record.loss:.3f}, validation {record.accuracy_val:.1%}"
                bar.update(task, completed=record.epoch, note=note)

            result = run_job(job, show)
        leave_cards(folder)
        return result


def _choose_threads(architecture: Architecture, image_size: int, device: str) -> None:
    """On a CPU, train with as many threads as are fastest: often one."""
    if pick_device(device).type != "cpu":
        return
    model = build_model(architecture.base, architecture.experts, seed=0)
    images = torch.zeros(8, 3, image_size, image_size).to(memory_format=torch.channels_last)
    fastest_threads(lambda: model(images).sum().backward())
