"""One training job: build or upcycle a model, train it, score it, leave a model folder.

A job is a picklable value and runs in any process. It is idempotent: a finished job returns its
scores, an interrupted one goes on from its last state; what another job left there is removed.
"""

from __future__ import annotations

import contextlib
import dataclasses
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import nn

from moenas.data.cache import ImageStore, cached_images
from moenas.data.dataset import ImageDataset
from moenas.data.manifest import Manifest
from moenas.data.transforms import train_transform
from moenas.errors import ConfigError, ModelError
from moenas.evaluation.predict import probabilities
from moenas.models.architecture import Architecture
from moenas.models.builder import build_model
from moenas.models.convert import upcycle
from moenas.models.quantum_head import with_head
from moenas.models.storage import load_model, read_card, save_model
from moenas.runs import ModelFolder, find_checkpoint
from moenas.runtime import (
    best_precision,
    derived_seed,
    pick_device,
    process_index,
    seed_everything,
)
from moenas.training import processes
from moenas.training.distillation import DistillationStep
from moenas.training.head_only import HeadStep
from moenas.training.history import EpochRecord
from moenas.training.identity import Identity
from moenas.training.input_size import suited
from moenas.training.loop import forget_state, train
from moenas.training.outcome import JobResult, judge, leave, read_result
from moenas.training.reuse import stored_result, take_result
from moenas.training.sandwich import SandwichStep
from moenas.training.schemes import Scheme
from moenas.training.step import Step, plain_step


@dataclasses.dataclass(frozen=True)
class DataReference:
    """Where a job finds its images: the manifest, the cache of decoded images, their side."""

    manifest: str
    cache: str
    image_size: int

    def load(self) -> tuple[Manifest, ImageStore]:
        """Return the manifest and the decoded images.

        Raises:
            DataError: The manifest cannot be read, or too many images.
        """
        manifest = Manifest.load(self.manifest)
        return manifest, cached_images(manifest, self.image_size, Path(self.cache), progress=False)

    def counts(self) -> Counter[str]:
        """How many images each split has.

        Raises:
            DataError: The manifest cannot be read.
        """
        return Counter(Manifest.load(self.manifest).frame["split"])


@dataclasses.dataclass(frozen=True)
class TrainingJob:
    """One model to train and score.

    Attributes:
        architecture: Its id.
        folder: Where its files go.
        data: The images.
        scheme: The recipe.
        seed: Of initialisation, order and augmentation.
        parent: Model to start from, its folder or file: one of the same expert counts goes on, a
            dense one is upcycled; another head starts anew. None: a new initialisation.
        pretrained: Weights to start from where there is no parent (see `build_model`).
        supernet: Train its sub-networks, too (see `SandwichStep`).
        teacher: Folder of a trained model to learn from instead of the labels (see
            `DistillationStep`); not together with ``supernet``.
        head_only: Train the head alone, on the parent's features.
        score: The splits to score; validation sets the threshold and is always predicted.
        floor: A training whose validation accuracy is hopelessly below it ends early; None: never.
        device: ``auto``, ``cpu``, ``cuda`` ...
        deadline: `time.monotonic` value; see `train`.
        accumulate: Parts in which a batch is computed; see `train`.
    """

    architecture: str
    folder: str
    data: DataReference
    scheme: Scheme
    seed: int
    parent: str | None = None
    pretrained: bool | str = False
    supernet: bool = False
    teacher: str | None = None
    head_only: bool = False
    score: tuple[str, ...] = ("search",)
    floor: float | None = None
    device: str = "auto"
    deadline: float | None = None
    accumulate: int = 1


HOPELESS = 0.10
"""How far below the floor a model is hopeless once half of its epochs are done (points / 100)."""


def run_job(job: TrainingJob, on_epoch: Callable[[EpochRecord], None] | None = None) -> JobResult:
    """Run a training job, or return what it left when it was run before.

    Args:
        job: What to train.
        on_epoch: Called after each epoch.

    Raises:
        OutOfTime: The deadline came; run it again to go on.
        MoENASError: Whatever is wrong with the images, the parent or the folder.
    """
    folder = ModelFolder(Path(job.folder))
    architecture = Architecture.parse(job.architecture)
    identity = Identity(architecture.id, job.seed)
    found = stored_result(folder, identity)
    if found is not None:
        return found
    # The first of several processes of one training holds the folder for all of them.
    with contextlib.nullcontext() if process_index() else folder.locked():
        found = (stored_result if process_index() else take_result)(folder, identity)
        if found is not None:
            return found
        return _run(job, architecture, folder, on_epoch)


def _run(
    job: TrainingJob,
    architecture: Architecture,
    folder: ModelFolder,
    on_epoch: Callable[[EpochRecord], None] | None,
) -> JobResult:
    start = time.monotonic()
    device = pick_device(job.device)
    manifest, images = job.data.load()
    model = _initial_model(job, architecture)
    split, labels = manifest.frame["split"].to_numpy(), manifest.frame["label"].to_numpy()
    transform = train_transform(job.scheme.augmentation, job.data.image_size)
    data = ImageDataset(images, labels, transform, rows=np.flatnonzero(split == "train"))
    validation = ImageDataset(images, labels, rows=np.flatnonzero(split == "val"))
    epochs = job.scheme.epochs_begun(len(data))
    step = _step(job, model, device)
    result = train(
        model,
        data,
        validation,
        _suited(job, architecture),
        folder=folder,
        seed=job.seed,
        device=device,
        precision=best_precision(device),
        deadline=job.deadline,
        step=step,
        on_epoch=on_epoch,
        accumulate=job.accumulate,
        stop=None if job.floor is None else _Hopeless(job.floor, epochs),
    )
    told = set(job.score) - {"val"}  # which is predicted already
    scored = np.flatnonzero(np.isin(split, [*told]) & images.readable)
    probability = processes.shared_out(
        lambda rows: probabilities(result.model, images.images, rows, device=device), scored
    )
    predictions = judge(
        manifest,
        np.concatenate([validation.rows, scored]),
        np.concatenate([result.validation, probability]),
    )

    def finish() -> JobResult:
        save_model(
            folder.checkpoint,
            result.model,
            image_size=job.data.image_size,
            threshold=predictions.threshold,
        )
        done = leave(
            folder,
            predictions,
            Identity(architecture.id, job.seed),
            job.data.image_size,
            job.score,
            time.monotonic() - start,
            result.stopped_because,
        )
        forget_state(folder)
        return done

    return processes.by_main(finish) or read_result(folder)


def _suited(job: TrainingJob, architecture: Architecture) -> Scheme:
    """The scheme, with images of sizes that the model takes, and its teacher, who sees the same."""
    scheme = suited(job.scheme, architecture.base, job.data.image_size)
    if job.teacher is None:
        return scheme
    taught_by = read_card(ModelFolder(Path(job.teacher)).checkpoint).architecture
    return suited(scheme, Architecture.parse(taught_by).base, job.data.image_size)


def _step(job: TrainingJob, model: nn.Module, device: torch.device) -> Step:
    if job.supernet and job.teacher is not None:
        raise ConfigError("A supernet is its own teacher: give no other one.")
    if job.supernet:
        return SandwichStep(model, job.seed)
    if job.head_only:
        if job.parent is None or job.teacher is not None:
            raise ConfigError("A head alone is trained on a parent's features, without a teacher.")
        return HeadStep(model)
    if job.teacher is None:
        return plain_step
    teacher, _ = load_model(ModelFolder(Path(job.teacher)).checkpoint)
    return DistillationStep(teacher.to(device).to(memory_format=torch.channels_last))


def _initial_model(job: TrainingJob, architecture: Architecture) -> nn.Module:
    seed = derived_seed(job.seed, "init")
    if job.parent is None:
        seed_everything(seed)
        return build_model(
            architecture.base,
            architecture.experts,
            seed=seed,
            pretrained=job.pretrained,
            head=architecture.head,
        )
    model, card = load_model(find_checkpoint(Path(job.parent)))
    given = Architecture.parse(card.architecture)
    if given.with_head(architecture.head) != architecture:
        if given.base != architecture.base or not given.dense:
            raise ModelError(
                f"The parent '{job.parent}' is a '{card.architecture}'; '{architecture.id}' starts "
                f"from a dense '{architecture.base}', or from one with the same expert counts."
            )
        model = upcycle(model, architecture.experts, seed=seed)
    if given.head != architecture.head:
        model = with_head(model, architecture.head, seed=derived_seed(job.seed, "head"))
    return model


@dataclasses.dataclass(frozen=True)
class _Hopeless:
    """Stop rule: at half of the epochs still far below what a model must reach at the end."""

    floor: float
    epochs: int

    def __call__(self, history: tuple[EpochRecord, ...]) -> str | None:
        best = max(record.accuracy_val for record in history)
        if 2 * len(history) >= self.epochs > len(history) and best < self.floor - HOPELESS:
            return (
                f"validation accuracy {best:.3f} after {len(history)} of {self.epochs} epochs, "
                f"{self.floor:.3f} is required at the end"
            )
        return None
