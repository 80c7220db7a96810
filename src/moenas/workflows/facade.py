"""The package's functions for models in memory; commands work on files."""

from __future__ import annotations

from collections.abc import Mapping

from torch import nn

from moenas.data.cache import cached_images
from moenas.data.manifest import Manifest
from moenas.evaluation.predict import predict
from moenas.evaluation.scores import Scores, best_threshold, score
from moenas.models.convert import architecture_of
from moenas.models.cost import count_macs, count_parameters
from moenas.pruning import experts
from moenas.pruning.experts import PruningResult
from moenas.runs import cache_home
from moenas.runtime import pick_device


def evaluate(
    model: nn.Module,
    manifest: Manifest,
    *,
    image_size: int,
    split: str = "report",
    threshold: float | None = None,
    device: str = "auto",
) -> Scores:
    """Score a model on a split of a manifest.

    Args:
        model: From `build_model`, `upcycle` or `load_model`.
        manifest: The images.
        image_size: Side in pixels that the model was trained on.
        split: The split to score.
        threshold: From which probability on a person is seen, 0–1; None sets it on ``val``.
        device: Where to compute.

    Raises:
        DataError: The split is missing, or lacks images of one class.
        ModelError: The model is not one of ours.
    """
    architecture = architecture_of(model)
    images = cached_images(manifest, image_size, cache_home() / "images")
    predictions = predict(
        model, manifest, images, splits=("val", split), device=pick_device(device)
    )
    if threshold is None:
        threshold = best_threshold(predictions.split("val"))
    return score(
        predictions.with_threshold(threshold),
        split=split,
        parameters=count_parameters(architecture.base, architecture.experts),
        macs=count_macs(architecture.base, architecture.experts, image_size),
    )


def prune_experts(
    model: nn.Module,
    manifest: Manifest,
    *,
    image_size: int,
    keep_above: Mapping[str, float] | None = None,
    max_parameters: int | None = None,
    device: str = "auto",
) -> PruningResult:
    """Remove a model's least used experts as long as quality holds; see `pruning.experts`.

    Args:
        model: A model with S-FFN layers; it is not changed.
        manifest: Images with the splits ``val`` and ``search``.
        image_size: Side in pixels that the model was trained on.
        keep_above: Shares of the starting qualities that must remain, e.g. ``{"fairness": 0.95}``.
        max_parameters: Stop at this size.
        device: Where to compute.
    """
    return experts.prune_experts(
        model,
        manifest,
        cached_images(manifest, image_size, cache_home() / "images"),
        keep_above=keep_above,
        max_parameters=max_parameters,
        device=pick_device(device),
    )
