"""How often each expert is used: the paper's measure of which expert to prune first."""

from __future__ import annotations

import dataclasses

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from moenas.data.dataset import normalise
from moenas.models.folding import fold_batch_norms
from moenas.models.routing import record_routing

Counts = dict[str, npt.NDArray[np.int64]]
"""Layer name -> [images, experts]: how many tokens of an image each expert took."""


@dataclasses.dataclass
class Observation:
    """What a model did with a set of images.

    Attributes:
        probability: [n] of a person.
        tokens: Tokens per layer, image and expert.
    """

    probability: npt.NDArray[np.float64]
    tokens: Counts

    def replace(self, rows: npt.NDArray[np.int64], other: Observation) -> None:
        """Put another observation of the images ``rows`` in place; it may lack layers."""
        self.probability[rows] = other.probability
        for layer in list(self.tokens):
            if layer not in other.tokens:
                del self.tokens[layer]
            else:
                self.tokens[layer][rows] = other.tokens[layer]


@torch.inference_mode()
def observe(
    model: nn.Module,
    images: npt.NDArray[np.uint8],
    rows: npt.NDArray[np.int64],
    *,
    device: torch.device,
    batch_size: int = 64,
) -> Observation:
    """Run a model over images and record what each router chose.

    Args:
        model: A model with S-FFN layers.
        images: [n, height, width, 3] RGB.
        rows: Which images, in this order.
        device: Where to compute.
        batch_size: Images at once.
    """
    model = fold_batch_norms(model).to(device)
    probability: list[npt.NDArray[np.float64]] = []
    tokens: dict[str, list[npt.NDArray[np.int64]]] = {}
    with record_routing(model) as routings:
        for start in range(0, len(rows), batch_size):
            batch = torch.from_numpy(np.array(images[rows[start : start + batch_size]]))
            logits = model(normalise(batch.to(device)))
            probability.append(logits.float().softmax(dim=1)[:, 1].double().cpu().numpy())
            for layer, routing in routings.items():
                experts = routing.logits.shape[1]
                chosen = routing.expert.reshape(len(batch), -1).long()
                offset = torch.arange(len(batch), device=chosen.device)[:, None] * experts
                counts = torch.bincount((chosen + offset).flatten(), minlength=len(batch) * experts)
                tokens.setdefault(layer, []).append(counts.view(len(batch), experts).cpu().numpy())
    return Observation(
        np.concatenate(probability), {name: np.concatenate(part) for name, part in tokens.items()}
    )


def least_used(tokens: Counts, rows: npt.NDArray[np.int64]) -> tuple[str, int, float] | None:
    """Return layer, expert and share of the layer's tokens of the least used expert.

    Args:
        tokens: Tokens per layer, image and expert.
        rows: The images that count: the validation images.

    Returns:
        None when every layer has a single expert. Ties go to the layer nearest to the head, whose
        experts are the largest.
    """
    best: tuple[float, int, str, int] | None = None
    for index, (layer, counts) in enumerate(tokens.items()):
        share = counts[rows].sum(axis=0) / max(1, counts[rows].sum())
        expert = int(share.argmin())
        candidate = (float(share[expert]), -index, layer, expert)
        if best is None or candidate[:2] < best[:2]:
            best = candidate
    return None if best is None else (best[2], best[3], best[0])
