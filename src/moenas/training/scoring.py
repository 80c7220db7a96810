"""Looking at further splits with a model that is trained already."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np

from moenas.evaluation.predict import probabilities
from moenas.models.convert import architecture_of
from moenas.models.storage import load_model
from moenas.runs import ModelFolder
from moenas.runtime import pick_device
from moenas.training.identity import Identity
from moenas.training.job import DataReference
from moenas.training.loop import check_deadline
from moenas.training.outcome import JobResult, judge, leave, read_result


@dataclasses.dataclass(frozen=True)
class ScoringJob:
    """One model to score anew.

    Attributes:
        folder: Its folder; gets the predictions and scores of all ``score``.
        data: The images that it was trained and validated on, and those to score.
        score: The splits to score; validation sets the threshold and is always predicted.
        device: As in `TrainingJob`.
        deadline: As there.
    """

    folder: str
    data: DataReference
    score: tuple[str, ...]
    device: str = "auto"
    deadline: float | None = None


def run_scoring_job(job: ScoringJob) -> JobResult:
    """Score a trained model on further splits, or return what was found before.

    Raises:
        OutOfTime: The deadline came; run it again to go on.
        MoENASError: Whatever is wrong with the images or the checkpoint.
    """
    folder = ModelFolder(Path(job.folder))
    before = read_result(folder)
    if set(job.score) <= set(before.scores):
        return before
    manifest, images = job.data.load()
    model, _ = load_model(folder.checkpoint)
    split = manifest.frame["split"].to_numpy()
    rows = np.flatnonzero(np.isin(split, ("val", *job.score)) & images.readable)
    probability = probabilities(
        model,
        images.images,
        rows,
        device=pick_device(job.device),
        check=lambda: check_deadline(job.deadline, f"scoring '{folder.path}'"),
    )
    return leave(
        folder,
        judge(manifest, rows, probability),
        before.of or Identity(architecture_of(model).id),
        job.data.image_size,
        job.score,
        before.seconds,
        before.stopped_because,
    )
