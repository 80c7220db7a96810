"""``moenas evaluate``: score a model on a data set."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from moenas.data.cache import cached_images
from moenas.data.manifest import Manifest
from moenas.evaluation.predict import predict
from moenas.evaluation.scores import Scores, score
from moenas.models.architecture import Architecture
from moenas.models.cost import macs_of, parameters_of
from moenas.models.storage import load_model
from moenas.predictions import Predictions
from moenas.runs import cache_home, find_checkpoint
from moenas.runtime import pick_device
from moenas.workflows.data import open_manifest


def evaluate(
    checkpoint: Path | str,
    data: str | Sequence[str] = "emoji",
    *,
    split: str = "report",
    device: str = "auto",
    save: Path | None = None,
) -> tuple[Scores, Predictions]:
    """Score a checkpoint at its own threshold.

    Args:
        checkpoint: A model of ours: its file, its folder, or a run that has no other.
        data: See `open_manifest`.
        split: The split to score; ``val`` is predicted too, for overfitting.
        device: Where to compute.
        save: Where to write the predictions (Parquet), if anywhere.

    Raises:
        CheckpointError: The checkpoint cannot be used.
        DataError: The data cannot be used, or lack the split.
    """
    where = pick_device(device)
    model, card = load_model(find_checkpoint(Path(checkpoint)))
    manifest: Manifest = open_manifest(data, card.image_size)
    manifest.validate(check_images=False, need_splits=(split,))
    images = cached_images(manifest, card.image_size, cache_home() / "images")
    predictions = predict(
        model,
        manifest,
        images,
        splits=("val", split),
        threshold=card.threshold,
        device=where,
    )
    if save is not None:
        predictions.save(save)
    architecture = Architecture.parse(card.architecture)
    return (
        score(
            predictions,
            split=split,
            parameters=parameters_of(architecture),
            macs=macs_of(architecture, card.image_size),
        ),
        predictions,
    )
