"""``moenas train``: train one architecture and score it."""

from __future__ import annotations

import contextlib
import dataclasses
import math
from pathlib import Path
from typing import Literal

import torch

from moenas.config import to_dict
from moenas.console import note, progress
from moenas.data.sources.opening import names_of
from moenas.errors import ConfigError
from moenas.models.architecture import Architecture
from moenas.models.builder import build_model
from moenas.models.cost import count_parameters
from moenas.models.heads import QUBITS, Head, HeadKind
from moenas.models.storage import load_model
from moenas.models.zoo import model_for
from moenas.nas.settings import SearchConfig
from moenas.report.card.writing import leave_cards
from moenas.run_log import working
from moenas.runs import RunFolder, find_checkpoint
from moenas.runtime import fastest_threads, keep_freed_memory, pick_device
from moenas.tracking.recording import recording
from moenas.training import processes
from moenas.training.history import EpochRecord, read_history
from moenas.training.job import TrainingJob, run_job
from moenas.training.outcome import JobResult
from moenas.workflows.data import prepare
from moenas.workflows.settings import Resources
from moenas.workflows.tracked import record_epoch, score_numbers


@dataclasses.dataclass(frozen=True)
class TrainConfig:
    """One training.

    Attributes:
        architecture: A base model's name, or an architecture's id with its expert counts; None:
            the parent's, or mobilevitv2_050.
        data: What is trained and tested on: ``emoji``, a manifest, a CSV, a folder, a published
            data set, or FACET's folder and another. One name may stand without a tuple.
        epochs: Passes over the training images; the last one may be a part.
        image_size: Side of the images, pixels.
        parent: Trained model to start from, its run folder or checkpoint: one of the same expert
            counts goes on, a dense one is upcycled; None: start anew.
        pretrained: Start from timm's ImageNet weights, or from a local file of them.
        scheme: Name of the training scheme; rates end at a tenth of its final one.
        batch_size: Images per step; None: the scheme's.
        learning_rate: Peak; None: the scheme's.
        weight_decay: None: the scheme's, raised for a short training from an own start (see
            `Scheme.forgetting`).
        augmentation: Training transform; None: the scheme's.
        seed: Of everything.
        head: ``quantum``, ``classical`` (as many parameters) or ``linear``; None: as it is. A head
            that the parent has goes on, another one starts anew.
        qubits: Width of a quantum or classical head, 1 to 16; None: 8.
        head_only: Train the head alone, on the parent's features.
        accumulate: Parts in which each batch is computed, one after the other, where it does not
            fit in memory whole; None: 1.
    """

    architecture: str | None = None
    data: tuple[str, ...] = ("emoji",)
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
    head: HeadKind | Literal["linear"] | None = None
    qubits: int | None = None
    head_only: bool = False
    accumulate: int | None = None

    def __post_init__(self) -> None:
        if self.accumulate is not None and self.accumulate < 1:
            raise ConfigError(f"accumulate must be at least 1, not {self.accumulate}.")
        object.__setattr__(self, "data", names_of(self.data))
        if self.qubits is not None and self.head in (None, "linear"):
            raise ConfigError("qubits belong to a head: add --head quantum, or classical.")
        if self.head_only and self.parent is None:
            raise ConfigError("head_only trains on a trained model's features: name it as parent.")


def train(config: TrainConfig, run: Path | str, resources: Resources | None = None) -> JobResult:
    """Train one architecture; an interrupted training goes on.

    Processes that `accelerate launch` or torchrun started together train it together.

    Args:
        config: What to train.
        run: The run folder; the model lies in ``model/``.
        resources: Where and how long.

    Returns:
        Scores on the search and the report half.
    """
    resources = resources or Resources()
    architecture = _architecture(config)
    config = dataclasses.replace(config, architecture=architecture.id)
    recipe = SearchConfig(
        scheme=config.scheme,
        batch_size=config.batch_size,
        learning_rate=config.learning_rate,
        weight_decay=config.weight_decay,
        augmentation=config.augmentation,
    )
    scheme = recipe.training(config.epochs, tuning=_goes_on(config))
    settings = to_dict(config)
    processes.join(pick_device(resources.device))
    keep_freed_memory()
    with contextlib.ExitStack() as held:
        held.callback(processes.part_company)

        def claim() -> RunFolder:
            made = RunFolder.create(run, "train", settings)
            held.enter_context(working(made, settings))
            prepare(config.data, config.image_size, made)
            return made

        folder = processes.by_main(claim) or RunFolder.open(run)
        track = resources.track if processes.index() == 0 else None
        record = held.enter_context(recording(track, folder, settings))
        data = prepare(config.data, config.image_size, folder)
        if config.weight_decay is None and config.parent is None and not config.pretrained:
            scheme = scheme.forgetting(data.counts()["train"])
        job = TrainingJob(
            architecture=architecture.id,
            folder=str(folder.model().path),
            data=data,
            scheme=scheme,
            seed=config.seed,
            parent=None if config.parent is None else str(find_checkpoint(config.parent)),
            pretrained=config.pretrained,
            head_only=config.head_only,
            score=("search", "report"),
            device=resources.device,
            deadline=resources.deadline(),
            accumulate=config.accumulate or 1,
        )
        if processes.count() == 1:  # of several, the launcher says how many threads each has
            _choose_threads(architecture, config.image_size, resources.device)
        with progress() as bar:
            visible = processes.index() == 0
            task = bar.add_task("Epochs", total=math.ceil(config.epochs), note="", visible=visible)

            def show(epoch: EpochRecord) -> None:
                text = f"loss {epoch.loss:.3f}, validation {epoch.accuracy_val:.1%}"
                bar.update(task, completed=epoch.epoch, note=text)
                note("epoch", f"Epoch {epoch.epoch}: {text}", **to_dict(epoch))
                record_epoch(record, epoch)

            for epoch in read_history(folder.model()):  # of before an interruption
                record_epoch(record, epoch)
            result = run_job(job, show)
        for split, scores in result.scores.items():
            record.add(split, 0, score_numbers(scores))
        processes.by_main(lambda: leave_cards(folder))
        return result


def _architecture(config: TrainConfig) -> Architecture:
    """What is asked for: the name or the parent's, with the head that is asked for.

    Raises:
        ModelError: There is no such model, or it cannot have the head.
        CheckpointError: The parent cannot be used.
        ConfigError: The parent was trained on images of another size and only its head is.
    """
    name, parent = config.architecture, None
    if config.parent is not None and (name is None or config.head_only):
        _, parent = load_model(find_checkpoint(config.parent))
        if config.head_only and parent.image_size != config.image_size:
            raise ConfigError(
                f"The features of '{config.parent}' are for images of {parent.image_size} pixels: "
                f"set image_size to that, not to {config.image_size}."
            )
    if name is None:
        name = "mobilevitv2_050" if parent is None else parent.architecture
    if "-" in name:
        architecture = Architecture.parse(name)
    else:
        architecture = Architecture.dense_base(model_for(name, config.image_size))
    count_parameters(architecture.base, architecture.experts)  # refuses an unknown base model
    if config.head == "linear":
        return architecture.with_head(None)
    if config.head is not None:
        return architecture.with_head(
            Head(config.head, QUBITS if config.qubits is None else config.qubits)
        )
    return architecture


def _goes_on(config: TrainConfig) -> bool:
    """Whether what is trained was trained before; a new head alone was not."""
    return config.parent is not None and not config.head_only


def _choose_threads(architecture: Architecture, image_size: int, device: str) -> None:
    """On a CPU, train with as many threads as are fastest: often one."""
    if pick_device(device).type != "cpu":
        return
    model = build_model(architecture.base, architecture.experts, seed=0, head=architecture.head)
    images = torch.zeros(8, 3, image_size, image_size).to(memory_format=torch.channels_last)
    fastest_threads(lambda: model(images).sum().backward())
