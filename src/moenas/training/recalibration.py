"""Batch norms' statistics anew: a sub-network's are not its supernet's."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import torch
from torch import nn
from torch.optim.swa_utils import update_bn

from moenas.data.dataset import normalise

IMAGES = 1024  # means of so many settle to a few percent of a standard deviation


def recalibrate(
    model: nn.Module,
    images: npt.NDArray[np.uint8],
    rows: npt.NDArray[np.integer],
    *,
    seed: int,
    device: torch.device,
    batch_size: int = 64,
) -> None:
    """Replace the running statistics of all batch norms by those of training images, in place.

    Args:
        model: In evaluation mode afterwards.
        images: [n, height, width, 3] RGB; may be memory-mapped.
        rows: The training images; at most `IMAGES` of them are drawn.
        seed: Of that draw.
        device: Where to compute.
        batch_size: Images at once.
    """
    drawn = np.random.default_rng(seed).permutation(rows)[:IMAGES]
    model.to(device)

    def batches() -> Iterator[torch.Tensor]:
        for part in np.array_split(drawn, math.ceil(len(drawn) / batch_size)):
            batch = torch.from_numpy(np.array(images[np.sort(part)]))
            yield normalise(batch.to(device))

    update_bn(batches(), model)
    model.eval()
