"""From a model and images to a predictions table."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch
from torch import nn

from moenas.data.cache import ImageStore
from moenas.data.dataset import normalise
from moenas.data.manifest import COLUMNS as OF_THE_IMAGE
from moenas.data.manifest import Manifest
from moenas.errors import DataError, ModelError
from moenas.models.folding import fold_batch_norms
from moenas.predictions import COLUMNS, Predictions
from moenas.runtime import exact_products, pick_device

Alter = Callable[[torch.Tensor, npt.NDArray[np.integer]], torch.Tensor]
"""(uint8 images [B, 3, H, W], their rows [B]) -> other images of the same shape and type."""


@torch.inference_mode()
def probabilities(
    model: nn.Module,
    images: npt.NDArray[np.uint8],
    rows: npt.NDArray[np.integer] | None = None,
    *,
    device: torch.device | None = None,
    batch_size: int | None = None,
    alter: Alter | None = None,
    check: Callable[[], None] | None = None,
) -> npt.NDArray[np.float64]:
    """Return the probability of a person for each image.

    Args:
        model: Classifier of two classes; it is not changed.
        images: [n, height, width, 3] RGB; may be memory-mapped, is read batch by batch.
        rows: Which images, in this order; all by default.
        device: Where to compute.
        batch_size: Images at once; None: 64 on a CPU, where they stay in its cache, else 256.
        alter: Applied to each batch before the model sees it.
        check: Called before each batch; what it raises, at a time limit, ends this.

    Returns:
        [n] values in 0–1.

    Raises:
        ModelError: The model has not two classes.
    """
    device = device or pick_device()
    model = fold_batch_norms(model).to(device)
    batch_size = batch_size or (64 if device.type == "cpu" else 256)
    result = []
    rows = np.arange(len(images)) if rows is None else rows
    for start in range(0, len(rows), batch_size):
        if check is not None:
            check()
        chosen = rows[start : start + batch_size]
        batch = torch.from_numpy(np.array(images[chosen])).to(device)
        if alter is not None:
            batch = alter(batch.permute(0, 3, 1, 2), chosen)
        with exact_products(device):
            logits = model(normalise(batch))
        result.append(of_person(logits))
    return torch.cat(result).cpu().double().numpy() if result else np.empty(0)


def of_person(logits: torch.Tensor) -> torch.Tensor:
    """Return the probability [B] of a person, from a model's output [B, 2].

    Raises:
        ModelError: It is not of two classes: which of more were a person is not known.
    """
    if logits.dim() != 2 or logits.shape[1] != 2:
        raise ModelError(
            f"This model's output for {len(logits)} images is of shape {list(logits.shape)}; two "
            "classes are needed, no person and person: build it with num_classes=2."
        )
    return logits.float().softmax(dim=1)[:, 1]


def predict(
    model: nn.Module,
    manifest: Manifest,
    images: ImageStore,
    *,
    splits: tuple[str, ...] | None = None,
    threshold: float = 0.5,
    device: torch.device | None = None,
    alter: Alter | None = None,
    check: Callable[[], None] | None = None,
) -> Predictions:
    """Return what a model says about the images of a manifest.

    Args:
        model: Classifier of two classes.
        manifest: Describes the images, row by row.
        images: Row i is the manifest's row i; unreadable ones are left out.
        splits: The splits to predict; all by default.
        threshold: From which probability on a person is seen.
        device: Where to compute.
        alter: Applied to each batch before the model sees it.
        check: Called before each batch; what it raises, at a time limit, ends this.

    Raises:
        DataError: There are not as many images as rows.
    """
    if len(images) != len(manifest):
        raise DataError(f"{len(images)} images for {len(manifest)} rows of the manifest.")
    wanted = images.readable.copy()
    if splits is not None:
        wanted &= manifest.frame["split"].isin(splits).to_numpy()
    rows = np.flatnonzero(wanted)
    probability = probabilities(model, images.images, rows, device=device, alter=alter, check=check)
    return tabulate(manifest, rows, probability, threshold)


def tabulate(
    manifest: Manifest,
    rows: npt.NDArray[np.integer],
    probability: npt.NDArray[np.float64],
    threshold: float = 0.5,
) -> Predictions:
    """Return the table of what was predicted for some rows of a manifest, in the manifest's order.

    It keeps the manifest's further columns (votes, attributes): scores can be grouped by them.

    Args:
        manifest: Describes the images.
        rows: [n] Which of them, in any order.
        probability: [n] Of a person, 0–1; entry i is row ``rows[i]``'s.
        threshold: From which probability on a person is seen.
    """
    columns = told_columns(manifest.frame)
    order = np.argsort(rows)
    frame = manifest.frame.iloc[rows[order]][columns].reset_index(drop=True)
    return Predictions(frame.assign(probability=probability[order]), threshold)


def told_columns(frame: pd.DataFrame) -> list[str]:
    """Return the columns of a manifest's table that belong in a predictions table."""
    said = ("prediction", "probability", "threshold")
    return [n for n in frame if n not in said and (n in COLUMNS or n not in OF_THE_IMAGE)]
