"""What the routers of a model do in an epoch: whether experts starve, and how sure routers are."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch

from moenas.models.routing import Routing
from moenas.training.processes import mean, total


class RouterLog:
    """Collects an epoch's routing on the device; numbers come to the host once, at its end.

    They are those of all processes that train together: all must ask.
    """

    def __init__(self) -> None:
        self._counts: dict[str, torch.Tensor] = {}
        self._entropy: dict[str, list[torch.Tensor]] = {}

    @torch.no_grad()
    def add(self, routings: Mapping[str, Routing]) -> None:
        """Take in one step's routing, by layer."""
        for layer, routing in routings.items():
            before = self._counts.get(layer, torch.zeros_like(routing.counts))
            self._counts[layer] = before + routing.counts  # not the same memory: a step reuses it
            p = routing.probabilities.detach()
            nats = torch.special.entr(p).sum(dim=1).mean()
            self._entropy.setdefault(layer, []).append(nats / math.log(p.shape[1]))

    def least_used(self) -> float | None:
        """Share of its layer's tokens that the least used expert of any layer took, 0–1."""
        if not self._counts:
            return None
        totals = total(list(self._counts.values()))
        shares = [counts.min() / counts.sum().clamp(min=1) for counts in totals]
        return round(float(torch.stack(shares).min()), 6)

    def entropy(self) -> float | None:
        """Entropy of the routers' probabilities, mean over layers: 1 undecided, 0 sure."""
        if not self._entropy:
            return None
        means = [torch.stack(values).mean() for values in self._entropy.values()]
        return round(float(mean(torch.stack(means).mean())), 6)
