"""Short trainings of pruned models: at the end, or where a removal broke a threshold."""

from __future__ import annotations

import copy
import dataclasses

import numpy as np
import torch
from torch import nn

from moenas.data.dataset import ImageDataset
from moenas.data.transforms import train_transform
from moenas.errors import DataError
from moenas.evaluation.predict import predict
from moenas.evaluation.threshold import best_threshold
from moenas.metrics import METRICS
from moenas.models.storage import ModelCard, load_model, save_model
from moenas.nas.settings import SearchConfig
from moenas.pruning.experts import PruningResult, judge
from moenas.pruning.qualities import broken
from moenas.runs import ModelFolder, RunFolder
from moenas.runtime import best_precision
from moenas.training.job import DataReference
from moenas.training.loop import check_deadline, forget_state, train

SEED = 0
"""Of the order of the images and of their augmentation."""


def tune(
    model: nn.Module,
    card: ModelCard,
    data: DataReference,
    folder: ModelFolder,
    epochs: float,
    device: torch.device,
    deadline: float | None = None,
) -> nn.Module:
    """Train a pruned model for a while, with the recipe and rate by which finalists are tuned.

    Args:
        model: It is not changed.
        card: Of the model before pruning.
        data: The images; those of ``train`` are trained on, ``val`` picks the epoch.
        folder: Keeps the trained model; one that is there is returned, a begun training goes on.
        epochs: Passes over the training images.
        device: Where to train.
        deadline: `time.monotonic` value after which `OutOfTime` is raised.

    Raises:
        OutOfTime: The deadline came; the same call goes on from the last step.
        DataError: There are no training images.
    """
    if folder.checkpoint.exists():
        return load_model(folder.checkpoint)[0]
    manifest, images = data.load()
    split = manifest.frame["split"].to_numpy()
    labels = manifest.frame["label"].to_numpy()
    if not (split == "train").any():
        raise DataError("Fine-tuning needs images of the split 'train'; there are none.")
    scheme = SearchConfig().training(epochs, tuning=True)
    transform = train_transform(scheme.augmentation, data.image_size)
    result = train(
        copy.deepcopy(model),
        ImageDataset(images, labels, transform, rows=np.flatnonzero(split == "train")),
        ImageDataset(images, labels, rows=np.flatnonzero(split == "val")),
        scheme,
        folder=folder,
        seed=SEED,
        device=device,
        precision=best_precision(device),
        deadline=deadline,
    )
    save_model(folder.checkpoint, result.model, image_size=card.image_size)
    forget_state(folder)
    return result.model


def tune_at_the_end(
    result: PruningResult,
    card: ModelCard,
    run: RunFolder,
    data: DataReference,
    epochs: float,
    device: torch.device,
    deadline: float | None = None,
) -> PruningResult:
    """Train the accepted model, and take the trained one if it is no worse.

    It is, if it keeps all thresholds on the search half and its balanced accuracy on the validation
    images did not fall. A model that was trained after its last removal is left as it is.

    Args:
        result: Of pruning.
        card: As in `tune`.
        run: Keeps the trained model.
        data: As in `tune`.
        epochs: As in `tune`.
        device: As in `tune`.
        deadline: As in `tune`.

    Raises:
        OutOfTime: As in `tune`.
    """
    last = result.steps[result.accepted]
    if last.tuned:
        return result
    model = tune(result.model, card, data, run.pruned_tuned(last.step), epochs, device, deadline)
    manifest, images = data.load()
    predictions = predict(
        model,
        manifest,
        images,
        splits=("val", "search"),
        device=device,
        check=lambda: check_deadline(deadline, f"pruning '{run.path}'; run it again to go on"),
    )
    predictions = predictions.with_threshold(best_threshold(predictions.split("val")))
    step = judge(last.step, last.removed, model, predictions, 1.0, tuned=True)
    accuracy = METRICS["balanced_accuracy"].function
    before, after = (accuracy(p.split("val")) for p in (result.predictions, predictions))
    fallen = broken(result.thresholds, result.steps[0].scores, step.scores)
    if after < before or fallen is not None:
        return dataclasses.replace(result, fine_tuned=step)
    return dataclasses.replace(
        result,
        model=model,
        threshold=predictions.threshold,
        predictions=predictions,
        fine_tuned=step,
        fine_tuned_kept=True,
    )
