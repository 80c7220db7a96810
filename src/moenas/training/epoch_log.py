"""What happens in an epoch: its losses, whether experts starve, and how sure routers are."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch

from moenas.models.routing import Routing
from moenas.training.checkpoint import Tensors
from moenas.training.processes import index, mean, total


class EpochLog:
    """Collects losses and routing on the device; numbers come to the host once, at the end.

    They are those of all processes that train together: all must ask.

    Args:
        tensors: What `tensors` returned of the epoch's part that is done.
    """

    def __init__(self, tensors: Tensors | None = None) -> None:
        self._losses: list[torch.Tensor] = []
        self._counts: dict[str, torch.Tensor] = {}
        self._entropy: dict[str, list[torch.Tensor]] = {}
        for name, value in sorted((tensors or {}).items()):
            kind, _, layer = name.partition("/")
            _, _, layer = layer.partition("/")
            if kind == "losses":
                self._losses = list(value.unbind())
            elif kind == "counts":
                self._counts[layer] = value if index() == 0 else torch.zeros_like(value)
            else:
                self._entropy[layer] = list(value.unbind())

    @torch.no_grad()
    def add(self, loss: torch.Tensor, routings: Mapping[str, Routing]) -> None:
        """Take in one step's loss (scalar) and routing, by layer."""
        self._losses.append(loss)
        for layer, routing in routings.items():
            before = self._counts.get(layer, torch.zeros_like(routing.counts))
            self._counts[layer] = before + routing.counts  # not the same memory: a step reuses it
            p = routing.probabilities.detach()
            nats = torch.special.entr(p).sum(dim=1).mean()
            self._entropy.setdefault(layer, []).append(nats / math.log(p.shape[1]))

    def loss(self) -> float:
        """Mean over the steps."""
        return float(mean(torch.stack(self._losses).mean()))

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

    def tensors(self) -> Tensors:
        """Return what the logs of a training that goes on start from, one for all processes."""
        found = {"losses": mean(torch.stack(self._losses))}
        # Numbered: a file sorts its tensors, and a sum depends on the order of what is added.
        counts = zip(self._counts, total(list(self._counts.values())), strict=True)
        for place, (layer, value) in enumerate(counts):
            found[f"counts/{place:04d}/{layer}"] = value
        for place, (layer, values) in enumerate(self._entropy.items()):
            found[f"entropy/{place:04d}/{layer}"] = mean(torch.stack(values))
        return found
