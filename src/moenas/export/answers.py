"""What a model and its exported files say about the same images, batch by batch.

The model's own answers are kept, each token's expert in one byte, and serve all its files. A file's
tokens are held against them while it answers, and forgotten: a large split at a large image size
has more tokens than fit in memory.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from moenas.data.dataset import normalise
from moenas.errors import ModelError
from moenas.export.exported import Experts
from moenas.models.folding import fold_batch_norms
from moenas.models.routing import record_routing

BATCH = 32
"""Images at once."""


class Runner(Protocol):
    """A model, or an exported file, that runs."""

    def run(self, images: npt.NDArray[np.uint8]) -> tuple[npt.NDArray[np.float32], Experts]:
        """Return logits ``[B, K]`` and each layer's experts ``[B, tokens]``."""


class Eager:
    """A model of ours as a `Runner`, on the CPU; the model itself is not changed."""

    def __init__(self, model: nn.Module) -> None:
        self.model = fold_batch_norms(model).cpu()

    @torch.inference_mode()
    def run(self, images: npt.NDArray[np.uint8]) -> tuple[npt.NDArray[np.float32], Experts]:
        """Return logits ``[B, K]`` and each layer's experts ``[B, tokens]``, uint8."""
        with record_routing(self.model) as routings:
            logits = self.model(normalise(torch.from_numpy(images))).float().numpy()
        experts: Experts = {
            layer: routing.expert.view(len(images), -1).numpy()
            for layer, routing in routings.items()
        }
        return logits, experts


@dataclasses.dataclass(frozen=True)
class Answers:
    """What a model says about n images.

    Attributes:
        logits: ``[n, K]``.
        experts: Layer -> each token's expert ``[n, tokens]``, uint8.
    """

    logits: npt.NDArray[np.float32]
    experts: dict[str, npt.NDArray[np.uint8]]


@dataclasses.dataclass(frozen=True)
class Followed:
    """What a file says about n images, and whether its tokens went the model's ways.

    Attributes:
        logits: ``[n, K]``.
        alike: ``[n]`` Whether all tokens of an image went to the model's experts.
        same: Tokens that did.
        tokens: All tokens; 0 where no layer is routed.
    """

    logits: npt.NDArray[np.float32]
    alike: npt.NDArray[np.bool_]
    same: int
    tokens: int


def answers_of(
    runner: Runner, images: npt.NDArray[np.uint8], rows: npt.NDArray[np.integer]
) -> Answers:
    """Run a model and keep all that it says.

    Args:
        runner: The model.
        images: ``[N, height, width, 3]``; may be memory-mapped, is read batch by batch.
        rows: ``[n]`` Which of them, in this order.

    Raises:
        ModelError: There is no image.
    """
    logits: list[npt.NDArray[np.float32]] = []
    experts: dict[str, npt.NDArray[np.uint8]] = {}
    for place, batch in _batches(images, rows):
        said, chosen = runner.run(batch)
        logits.append(said)
        for layer, mine in chosen.items():
            if layer not in experts:  # at once: joined in the end, all would be there twice
                experts[layer] = np.empty((len(rows), mine.shape[1]), np.uint8)
            experts[layer][place] = mine
    return Answers(np.concatenate(logits), experts)


def logits_of(
    runner: Runner, images: npt.NDArray[np.uint8], rows: npt.NDArray[np.integer]
) -> npt.NDArray[np.float32]:
    """Run a model and keep its logits ``[n, K]`` alone; see `answers_of`."""
    return np.concatenate([runner.run(batch)[0] for _, batch in _batches(images, rows)])


def follow(
    runner: Runner,
    images: npt.NDArray[np.uint8],
    rows: npt.NDArray[np.integer],
    model: Answers,
) -> Followed:
    """Run a file and hold the way of each of its tokens against the model's.

    Args:
        runner: The file.
        images: See `answers_of`.
        rows: See `answers_of`.
        model: What its model says about the same rows.
    """
    logits: list[npt.NDArray[np.float32]] = []
    alike = np.ones(len(rows), np.bool_)
    same = tokens = 0
    for place, batch in _batches(images, rows):
        said, chosen = runner.run(batch)
        logits.append(said)
        for layer, ours in model.experts.items():
            equal = ours[place] == chosen[layer]
            alike[place] &= equal.all(axis=1)
            same, tokens = same + int(equal.sum()), tokens + equal.size
    return Followed(np.concatenate(logits), alike, same, tokens)


def _batches(
    images: npt.NDArray[np.uint8], rows: npt.NDArray[np.integer]
) -> Iterator[tuple[slice, npt.NDArray[np.uint8]]]:
    """Images of `BATCH` rows and where these stand among all rows."""
    if not len(rows):
        raise ModelError("There is no image to compare a model and its export on.")
    for start in range(0, len(rows), BATCH):
        yield slice(start, start + BATCH), np.array(images[rows[start : start + BATCH]])
