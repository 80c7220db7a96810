"""The package's functions for models in memory; commands work on files."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import numpy.typing as npt
from torch import nn

from moenas.data.cache import ImageStore, cached_images
from moenas.data.manifest import Manifest
from moenas.errors import ModelError
from moenas.evaluation.predict import predict, tabulate
from moenas.evaluation.scores import Scores, score
from moenas.evaluation.threshold import best_threshold
from moenas.models.convert import architecture_of
from moenas.models.cost import macs_of, parameters_of
from moenas.predictions import Predictions
from moenas.pruning import experts
from moenas.pruning.experts import PruningResult
from moenas.runs import cache_home
from moenas.runtime import pick_device

Answering = Callable[[npt.NDArray[np.uint8]], npt.NDArray[np.floating]]
"""Any model: images [n, size, size, 3] (RGB, 0–255) to the probability of a person [n], 0–1."""

ASKED = 64
"""Images that such a model is shown at once."""


def evaluate(
    model: nn.Module | Answering,
    manifest: Manifest,
    *,
    image_size: int,
    split: str = "report",
    threshold: float | None = None,
    device: str = "auto",
) -> Scores:
    """Score a model on a split of a manifest.

    Args:
        model: From `build_model`, `upcycle` or `load_model`; or any function from images
            ``uint8 [n, image_size, image_size, 3]`` to the probability of a person ``[n]``, whose
            parameters and multiply-adds count as 0.
        manifest: The images.
        image_size: Side in pixels of what the model is shown.
        split: The split to score.
        threshold: From which probability on a person is seen, 0–1; None sets it on ``val``.
        device: Where to compute.

    Raises:
        DataError: The split is missing, or lacks images of one class.
        ModelError: The model is a module that is not one of ours, or a function that returns
            something else.
    """
    parameters, macs, where = 0, 0, pick_device(device)
    if isinstance(model, nn.Module):
        architecture = architecture_of(model)
        parameters = parameters_of(architecture)
        macs = macs_of(architecture, image_size)
    images, splits = cached_images(manifest, image_size, cache_home() / "images"), ("val", split)
    if isinstance(model, nn.Module):
        predictions = predict(model, manifest, images, splits=splits, device=where)
    else:
        predictions = _ask(model, manifest, images, splits)
    if threshold is None:
        threshold = best_threshold(predictions.split("val"))
    return score(
        predictions.with_threshold(threshold),
        split=split,
        parameters=parameters,
        macs=macs,
    )


def _ask(
    model: Answering, manifest: Manifest, images: ImageStore, splits: tuple[str, ...]
) -> Predictions:
    wanted = manifest.frame["split"].isin(splits).to_numpy() & images.readable
    rows = np.flatnonzero(wanted)
    said = np.empty(len(rows))
    for start in range(0, len(rows), ASKED):
        batch = np.array(images.images[rows[start : start + ASKED]])
        try:
            answer = np.asarray(model(batch), dtype=np.float64)
        except (ValueError, TypeError, RuntimeError) as error:
            raise ModelError(
                f"The model failed, or returned no array of numbers: {error}"
            ) from error
        if answer.shape != (len(batch),) or not ((answer >= 0) & (answer <= 1)).all():
            raise ModelError(
                f"The model was shown {len(batch)} images and must return as many probabilities, "
                f"each within 0–1; it returned an array of shape {list(answer.shape)}, the first "
                f"value {answer.flat[0] if answer.size else 'missing'}."
            )
        said[start : start + len(batch)] = answer
    return tabulate(manifest, rows, said)


def prune_experts(
    model: nn.Module,
    manifest: Manifest,
    *,
    image_size: int,
    keep_above: Mapping[str, float] | None = None,
    max_parameters: int | None = None,
    importance: str = "usage",
    curve: bool = False,
    device: str = "auto",
) -> PruningResult:
    """Remove a model's least needed experts as long as quality holds; see `pruning.experts`.

    Args:
        model: A model with S-FFN layers; it is not changed.
        manifest: Images with the splits ``val`` and ``search``.
        image_size: Side in pixels that the model was trained on.
        keep_above: Shares of the starting qualities that must remain, e.g. ``{"fairness": 0.95}``.
        max_parameters: Stop at this size.
        importance: What decides which expert goes first: ``usage``, ``gate``, ``output``,
            ``group``.
        curve: Go on to one expert a layer, whatever breaks; the returned model stays the same.
        device: Where to compute.

    Raises:
        ModelError: The model has no experts.
        DataError: The images lack what a threshold or the importance needs.
    """
    experts.refuse_dense(model)
    where = pick_device(device)
    return experts.prune_experts(
        model,
        manifest,
        cached_images(manifest, image_size, cache_home() / "images"),
        keep_above=keep_above,
        max_parameters=max_parameters,
        importance=importance,
        curve=curve,
        device=where,
    )
