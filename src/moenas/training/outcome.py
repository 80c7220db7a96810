"""What a finished job leaves in its model folder, and what it returns."""

from __future__ import annotations

import dataclasses

import numpy as np
import numpy.typing as npt

from moenas.config import from_dict, to_dict
from moenas.data.manifest import Manifest
from moenas.errors import ConfigError, RunFolderError
from moenas.evaluation.predict import tabulate
from moenas.evaluation.scores import Scores, score
from moenas.evaluation.threshold import best_threshold
from moenas.models.architecture import Architecture
from moenas.models.cost import macs_of, parameters_of
from moenas.predictions import Predictions
from moenas.runs import ModelFolder
from moenas.serialisation import read_json, write_json
from moenas.training.identity import Identity


@dataclasses.dataclass(frozen=True)
class JobResult:
    """What ``scores.json`` holds.

    Attributes:
        scores: By split.
        seconds: That the job took in this run.
        stopped_because: Why training ended early, or None.
        of: What was trained or judged; None in files of versions that did not write it.
    """

    scores: dict[str, Scores]
    seconds: float
    stopped_because: str | None
    of: Identity | None = None


def judge(
    manifest: Manifest, rows: npt.NDArray[np.integer], probability: npt.NDArray[np.float64]
) -> Predictions:
    """Return the predictions table; its threshold is the best one on the validation images.

    Args:
        manifest: Describes the images.
        rows: [n] Which of them; all readable validation images are among them.
        probability: [n] Of a person.
    """
    predictions = tabulate(manifest, rows, probability)
    return predictions.with_threshold(best_threshold(predictions.split("val")))


def leave(
    folder: ModelFolder,
    predictions: Predictions,
    of: Identity,
    image_size: int,
    splits: tuple[str, ...],
    seconds: float,
    stopped_because: str | None = None,
) -> JobResult:
    """Score, write predictions and then scores: with these the folder is finished.

    Args:
        folder: Where.
        predictions: See `judge`.
        of: What was trained or judged; its cost is scored, too.
        image_size: What multiply-adds are counted at.
        splits: Which ones to score.
        seconds: What the job took.
        stopped_because: Why training ended early, or None.
    """
    predictions.save(folder.predictions)
    architecture = Architecture.parse(of.architecture)
    cost = {
        "parameters": parameters_of(architecture),
        "macs": macs_of(architecture, image_size),
    }
    scores = {name: score(predictions, split=name, **cost) for name in splits}
    seconds = round(seconds, 3)
    write_json(
        folder.scores,
        {
            "scores": {name: to_dict(value) for name, value in scores.items()},
            "seconds": seconds,
            "stopped_because": stopped_because,
            "of": to_dict(of),
        },
    )
    return JobResult(scores, seconds, stopped_because, of)


def read_result(folder: ModelFolder) -> JobResult:
    """Read what a finished job left in its folder.

    Raises:
        RunFolderError: The file is missing or damaged.
    """
    stored = read_json(folder.scores)
    try:
        return from_dict(JobResult, stored)
    except (ConfigError, TypeError) as error:
        raise RunFolderError(
            f"'{folder.scores}' is damaged ({error}). Delete it and run the same command again."
        ) from error
