"""The training loss: cross entropy plus what keeps the routers balanced and calm."""

from __future__ import annotations

from collections.abc import Iterable

import torch
import torch.nn.functional as F

from moenas.models.routing import Routing, balance_loss, z_loss
from moenas.training.processes import total
from moenas.training.schemes import Scheme


def training_loss(
    logits_BC: torch.Tensor, labels_B: torch.Tensor, routings: Iterable[Routing], scheme: Scheme
) -> torch.Tensor:
    """Return the scalar loss of one batch.

    Args:
        logits_BC: Class logits; computed in float32 whatever the precision of the model.
        labels_B: Class indices.
        routings: What each S-FFN's router did in this forward pass.
        scheme: The weights of the three terms.
    """
    loss = F.cross_entropy(logits_BC.float(), labels_B, label_smoothing=scheme.label_smoothing)
    return loss + router_loss(routings, scheme)


def imitation_loss(logits_BC: torch.Tensor, target_BC: torch.Tensor) -> torch.Tensor:
    """Return the mean Kullback-Leibler divergence of a model's classes from another's (scalar).

    Args:
        logits_BC: Class logits of the model that learns.
        target_BC: Class logits of the one it learns from; they get no gradient.
    """
    target_BC = target_BC.detach().float().log_softmax(dim=1)
    said_BC = logits_BC.float().log_softmax(dim=1)
    return F.kl_div(said_BC, target_BC, reduction="batchmean", log_target=True)


def router_loss(routings: Iterable[Routing], scheme: Scheme) -> torch.Tensor | float:
    """Return the routers' part of the loss: a scalar, 0.0 without routers.

    How many tokens an expert has is counted over all processes that train together; the mean of
    their losses is then that of one process with all images.

    Args:
        routings: As in `training_loss`.
        scheme: The weights of the two terms.
    """
    routings = list(routings)
    loss: torch.Tensor | float = 0.0
    counts = total([routing.counts for routing in routings])
    for routing, counts_E in zip(routings, counts, strict=True):
        loss = loss + scheme.balance_weight * balance_loss(routing, counts_E)
        loss = loss + scheme.router_z_weight * z_loss(routing)
    return loss
