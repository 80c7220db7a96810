"""Experts mixed by image instead of chosen by token: one FFN, the mean of all, for each image.

The mean is weighted with the router's probabilities for the mean token, so that every expert learns
from every image. Source: SMEAR (Muqeeth et al., 2023), conditional convolutions (Yang et al.,
2019). Only measured here: no token is routed, so it is no Switch FFN.
"""

from __future__ import annotations

import contextlib
import types
from collections.abc import Iterator
from unittest import mock

import torch
from torch import Tensor, nn

from moenas.models.activation import activate
from moenas.models.ffn import FFN
from moenas.models.switch_ffn import SwitchFFN
from moenas.training.job import TrainingJob, run_job
from moenas.training.outcome import JobResult


def forward(self: SwitchFFN, x: Tensor) -> Tensor:
    """Map ``[B, ..., dim]``, or maps ``[B, dim, ...]``, to the same shape."""
    if self.channels_first:
        x = x.movedim(1, -1)
    x_BTD = x.flatten(1, -2)
    share_BE = self.router(x_BTD.mean(dim=1)).probabilities
    w1, b1, w2, b2 = (torch.einsum("be,e...->b...", share_BE, p) for p in weights(self))
    hidden = activate(torch.baddbmm(b1.unsqueeze(1), x_BTD, w1.mT), self.activation)
    y = torch.baddbmm(b2.unsqueeze(1), hidden, w2.mT).view(x.shape)
    return y.movedim(-1, 1) if self.channels_first else y


def weights(layer: SwitchFFN) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    return *layer.fc1(), *layer.fc2()


def from_ffn(ffn: FFN, num_experts: int, gate: str = "exact", **settings) -> SwitchFFN:
    """Different experts, and so large that their mean has the size of one FFN."""
    layer = SwitchFFN(
        ffn.dim, ffn.hidden, num_experts, gate, activation=ffn.activation,
        convolutions=isinstance(ffn.fc1, nn.Conv2d), channels_first=ffn.channels_first,
        generator=settings.get("generator"),
    )  # fmt: skip
    with torch.no_grad():
        for part in (layer.fc1, layer.fc2):
            part.weight.mul_(num_experts**0.5)
            part.bias.mul_(num_experts**0.5)
    return layer


@contextlib.contextmanager
def mixed() -> Iterator[None]:
    """All Switch FFNs of this process mix their experts while the context is open."""
    with (
        mock.patch.object(SwitchFFN, "forward", forward),
        mock.patch.object(SwitchFFN, "from_ffn", from_ffn),
    ):
        yield


def mix(model: nn.Module) -> None:
    """Let a model's Switch FFNs mix their experts from now on."""
    for module in model.modules():
        if isinstance(module, SwitchFFN):
            module.forward = types.MethodType(forward, module)


def run_mixed_job(job: TrainingJob) -> JobResult:
    """`run_job` with mixed experts."""
    with mixed():
        return run_job(job)
