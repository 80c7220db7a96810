"""How far the scores of a trained model fall as its images get worse, as a job for a worker."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pandas as pd

from moenas.atomic import write_text
from moenas.data.corruptions import SEVERITIES
from moenas.evaluation.degradation import degradation, predict_severities
from moenas.models.storage import load_model
from moenas.predictions import Predictions
from moenas.runs import ModelFolder
from moenas.runtime import pick_device
from moenas.training.job import DataReference
from moenas.training.loop import check_deadline


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
        deadline: As in `TrainingJob`.
    """

    folder: str
    data: DataReference
    corruption: str
    split: str = "report"
    device: str = "auto"
    seed: int = 0
    deadline: float | None = None


def run_degradation_job(job: DegradationJob) -> pd.DataFrame:
    """Return `degradation`'s table of a trained model, or what was found before.

    Each severity is kept as it is finished, until the table is.

    Raises:
        OutOfTime: The deadline came; run it again to go on.
        MoENASError: Whatever is wrong with the images or the checkpoint.
    """
    folder = ModelFolder(Path(job.folder))
    path = folder.degradation(job.corruption)
    if path.exists():
        return pd.read_csv(path)
    manifest, images = job.data.load()
    model, card = load_model(folder.checkpoint)
    parts = {s: folder.severity(job.corruption, s) for s in (0, *SEVERITIES)}
    for severity, part in parts.items():
        if part.exists():
            continue
        said = predict_severities(
            model,
            manifest,
            images,
            corruption=job.corruption,
            splits=(job.split,),
            threshold=card.threshold,
            device=pick_device(job.device),
            seed=job.seed,
            severities=(severity,),
            check=lambda: check_deadline(job.deadline, f"{job.corruption} of '{folder.path}'"),
        )
        said[severity].save(part)
    severities = {severity: Predictions.load(part) for severity, part in parts.items()}
    write_text(path, degradation(severities, job.split).to_csv(index=False))
    for part in parts.values():
        part.unlink(missing_ok=True)
    return pd.read_csv(path)
