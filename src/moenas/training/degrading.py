"""How far the scores of a trained model fall as its images get worse, as a job for a worker."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pandas as pd

from moenas.evaluation.degradation import degradation, predict_severities
from moenas.models.storage import load_model
from moenas.runs import ModelFolder, write_text
from moenas.runtime import pick_device
from moenas.training.job import DataReference


@dataclasses.dataclass(frozen=True)
class DegradationJob:
    """One model under one corruption.

    Attributes:
        folder: The trained model's; gets the table.
        data: The images.
        corruption: Name in `moenas.data.corruptions.CORRUPTIONS`.
        split: The split to score.
        device: As in `TrainingJob`.
        seed: Of the corruption: models of one seed see the same images.
    """

    folder: str
    data: DataReference
    corruption: str
    split: str = "report"
    device: str = "auto"
    seed: int = 0


def run_degradation_job(job: DegradationJob) -> pd.DataFrame:
    """Return `degradation`'s table of a trained model, or what was found before.

    Raises:
        MoENASError: Whatever is wrong with the images or the checkpoint.
    """
    folder = ModelFolder(Path(job.folder))
    path = folder.degradation(job.corruption)
    if path.exists():
        return pd.read_csv(path)
    manifest, images = job.data.load()
    model, card = load_model(folder.checkpoint)
    severities = predict_severities(
        model,
        manifest,
        images,
        corruption=job.corruption,
        splits=(job.split,),
        threshold=card.threshold,
        device=pick_device(job.device),
        seed=job.seed,
    )
    write_text(path, degradation(severities, job.split).to_csv(index=False))
    return pd.read_csv(path)
