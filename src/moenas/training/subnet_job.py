"""One architecture judged without training: taken out of a trained supernet."""

from __future__ import annotations

import dataclasses
import time
from pathlib import Path

import numpy as np

from moenas.evaluation.predict import probabilities
from moenas.models.architecture import Architecture
from moenas.models.storage import load_model, read_hash
from moenas.models.subnet import subnet
from moenas.runs import ModelFolder
from moenas.runtime import derived_seed, pick_device
from moenas.training.identity import Identity
from moenas.training.job import DataReference
from moenas.training.loop import check_deadline
from moenas.training.outcome import JobResult, judge, leave
from moenas.training.recalibration import recalibrate
from moenas.training.reuse import stored_result, take_result


@dataclasses.dataclass(frozen=True)
class SubnetJob:
    """One sub-network to judge.

    Attributes:
        architecture: Its id.
        folder: Where predictions and scores go; no checkpoint, the supernet has the weights.
        supernet: Folder of the supernet.
        data: The images.
        seed: Of the images that its batch norms are recalibrated with.
        score: As in `TrainingJob`, like the next.
        device: As there.
        deadline: As there.
    """

    architecture: str
    folder: str
    supernet: str
    data: DataReference
    seed: int
    score: tuple[str, ...] = ("search",)
    device: str = "auto"
    deadline: float | None = None


def run_subnet_job(job: SubnetJob) -> JobResult:
    """Judge a sub-network, or return what was found before of it in the same supernet.

    Raises:
        OutOfTime: The deadline came; run it again to go on.
        MoENASError: Whatever is wrong with the images, the supernet or the folder.
    """
    folder = ModelFolder(Path(job.folder))
    architecture = Architecture.parse(job.architecture)
    checkpoint = ModelFolder(Path(job.supernet)).checkpoint
    identity = Identity(architecture.id, job.seed, read_hash(checkpoint))
    found = stored_result(folder, identity)
    if found is not None:
        return found
    with folder.locked():
        return take_result(folder, identity) or _run(job, folder, identity)


def _run(job: SubnetJob, folder: ModelFolder, identity: Identity) -> JobResult:
    def check() -> None:
        check_deadline(job.deadline, f"judging '{folder.path}'")

    check()
    start = time.monotonic()
    device = pick_device(job.device)
    architecture = Architecture.parse(job.architecture)
    manifest, images = job.data.load()
    split = manifest.frame["split"].to_numpy()
    model = subnet(load_model(ModelFolder(Path(job.supernet)).checkpoint)[0], architecture.experts)
    training = np.flatnonzero((split == "train") & images.readable)
    seed = derived_seed(job.seed, "recalibration")
    recalibrate(model, images.images, training, seed=seed, device=device)
    rows = np.flatnonzero(np.isin(split, ("val", *job.score)) & images.readable)
    probability = probabilities(model, images.images, rows, device=device, check=check)
    predictions = judge(manifest, rows, probability)
    seconds = time.monotonic() - start
    return leave(folder, predictions, identity, job.data.image_size, job.score, seconds)
