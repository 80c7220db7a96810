"""How much a model needs each of its experts: what decides which one is removed first.

To add one: subclass `Importance` and register it. Axes: N validation images, E experts of a layer,
T tokens, D width of a token.
"""

from __future__ import annotations

import abc
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from moenas.models.dispatch import dispatch
from moenas.models.routing import Routing, expert_counts
from moenas.models.switch_ffn import SwitchFFN
from moenas.registry import Registry

F64 = npt.NDArray[np.float64]


class Importance(abc.ABC):
    """A measure of experts; those of all layers are compared, the smallest goes.

    Attributes:
        of_all_images: Removing an expert changes it for images that never used the expert, too.
        needs_groups: It is not defined on images without groups.
    """

    of_all_images = False
    needs_groups = False

    def amounts(self, layer: SwitchFFN, x_TD: Tensor, y_TD: Tensor, routing: Routing) -> Any:
        """Return ``[T, ...]`` what is summed up over each image's tokens; None: tokens will do.

        Args:
            layer: The Switch FFN.
            x_TD: Its tokens.
            y_TD: What it made of them.
            routing: How it did.
        """
        return None

    @abc.abstractmethod
    def scores(self, tokens_NE: F64, amounts: F64 | None, group_N: npt.NDArray[np.int64]) -> F64:
        """Return ``[E]`` how much each expert of one layer is needed, 0 at least.

        Args:
            tokens_NE: Tokens of each image that visited each expert.
            amounts: ``[N, ...]`` sums of `amounts` over each image's tokens.
            group_N: Group of each image, -1 where it has none.
        """


IMPORTANCES: Registry[Importance] = Registry("importance")


class Usage(Importance):
    """Share of the layer's tokens that visit the expert: the paper's measure."""

    def scores(self, tokens_NE: F64, amounts: F64 | None, group_N: npt.NDArray[np.int64]) -> F64:
        """Return the shares; they sum to 1."""
        total: F64 = tokens_NE.sum(axis=0) / max(1.0, tokens_NE.sum())
        return total


class GroupUsage(Importance):
    """The largest share that the expert has of any group's tokens.

    An expert that a small group alone needs has a small share of all tokens and a large one of that
    group's. Images without a group count as one group more.
    """

    needs_groups = True

    def scores(self, tokens_NE: F64, amounts: F64 | None, group_N: npt.NDArray[np.int64]) -> F64:
        """Return the largest shares."""
        groups = [tokens_NE[group_N == group].sum(axis=0) for group in np.unique(group_N)]
        largest: F64 = np.max([total / max(1.0, total.sum()) for total in groups], axis=0)
        return largest


class MeanGate(Importance):
    """Mean probability that the router gives the expert, chosen or not."""

    of_all_images = True

    def amounts(self, layer: SwitchFFN, x_TD: Tensor, y_TD: Tensor, routing: Routing) -> Tensor:
        """Return the probabilities ``[T, E]``."""
        return routing.probabilities

    def scores(self, tokens_NE: F64, amounts: F64 | None, group_N: npt.NDArray[np.int64]) -> F64:
        """Return the means; they sum to 1."""
        assert amounts is not None
        mean: F64 = amounts.sum(axis=0) / max(1.0, tokens_NE.sum())
        return mean


class OutputChange(Importance):
    """How far the layer's output moves without the expert, as a share of that output's size.

    The expert's tokens go to their second choice; both are root mean squares over all tokens. With
    the gate ``"probability"`` the other tokens' outputs grow a little, which counts.
    """

    of_all_images = True

    def amounts(self, layer: SwitchFFN, x_TD: Tensor, y_TD: Tensor, routing: Routing) -> Tensor:
        """Return ``[T, E + 1]``: squared change without each expert, then the output's square."""
        first = routing.expert.long().unsqueeze(1)
        second = routing.logits.scatter(1, first, -torch.inf).argmax(dim=1)
        counts = expert_counts(second, layer.num_experts)
        (w1, b1), (w2, b2) = layer.fc1(), layer.fc2()
        other = dispatch(
            x_TD, second.to(torch.uint8), counts, w1, b1, w2, b2, activation=layer.activation
        )
        size = y_TD.float().square().sum(1, keepdim=True)
        change = torch.zeros_like(routing.logits)
        if layer.gate == "probability":
            p = routing.probabilities
            left = (1 - p).clamp(min=1e-6)
            change = size * (p / left).square()  # the others are divided by what is left
            other = other * (p.gather(1, second.unsqueeze(1)) / left.gather(1, first))
        moved = (other.float() - y_TD.float()).square().sum(1, keepdim=True)
        return torch.cat([change.scatter(1, first, moved), size], dim=1)

    def scores(self, tokens_NE: F64, amounts: F64 | None, group_N: npt.NDArray[np.int64]) -> F64:
        """Return the relative changes."""
        assert amounts is not None
        *change, size = amounts.sum(axis=0)
        relative: F64 = np.sqrt(np.array(change) / max(size, np.finfo(np.float64).tiny))
        return relative


IMPORTANCES.add("usage", Usage())
IMPORTANCES.add("gate", MeanGate())
IMPORTANCES.add("output", OutputChange())
IMPORTANCES.add("group", GroupUsage())


def least_needed(
    tokens: dict[str, npt.NDArray[np.int64]],
    amounts: dict[str, F64],
    importance: Importance,
    rows: npt.NDArray[np.int64],
    group: npt.NDArray[np.int64],
) -> tuple[str, int, float] | None:
    """Return layer, expert and importance of the least needed expert of the whole model.

    Args:
        tokens: ``[images, experts]`` by layer, in the layers' order.
        amounts: ``[images, ...]`` by layer; empty where the importance needs tokens only.
        importance: The measure.
        rows: The images that count: the validation images.
        group: Group of each image, -1 where it has none.

    Returns:
        None when every layer has a single expert. Ties go to the layer nearest to the head, whose
        experts are the largest.
    """
    best: tuple[float, int, str, int] | None = None
    for index, (layer, counts) in enumerate(tokens.items()):
        own = amounts[layer][rows] if layer in amounts else None
        scores = importance.scores(counts[rows].astype(np.float64), own, group[rows])
        expert = int(scores.argmin())
        candidate = (float(scores[expert]), -index, layer, expert)
        if best is None or candidate[:2] < best[:2]:
            best = candidate
    return None if best is None else (best[2], best[3], best[0])
