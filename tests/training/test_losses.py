from __future__ import annotations

import dataclasses

import pytest
import torch
import torch.nn.functional as F

from moenas.models.builder import build_model
from moenas.models.convert import upcycle
from moenas.models.routing import record_routing
from moenas.models.switch_ffn import SwitchFFN
from moenas.training.losses import training_loss
from moenas.training.schemes import SCHEMES, Scheme

PLAIN = dataclasses.replace(
    SCHEMES["mobilevitv2"], label_smoothing=0.0, balance_weight=0.0, router_z_weight=0.0
)


@pytest.fixture(scope="module")
def batch() -> tuple[torch.Tensor, torch.Tensor]:
    images = torch.randn(6, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    return images, torch.tensor([0, 1] * 3)


def loss_and_model(
    batch: tuple[torch.Tensor, torch.Tensor], scheme: Scheme
) -> tuple[torch.Tensor, torch.nn.Module]:
    model = upcycle(build_model("mobilevitv2_050", seed=0), (4,) * 9, seed=0).train()
    images, labels = batch
    with record_routing(model) as routings:
        logits = model(images)
        return training_loss(logits, labels, routings.values(), scheme), model


def routers(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    return {
        name: next(module.router.parameters()).grad
        for name, module in model.named_modules()
        if isinstance(module, SwitchFFN)
    }


def test_without_experts_it_is_the_cross_entropy() -> None:
    logits, labels = torch.randn(5, 2), torch.tensor([0, 1, 1, 0, 1])
    assert torch.equal(training_loss(logits, labels, [], PLAIN), F.cross_entropy(logits, labels))


def test_half_precision_logits_are_judged_in_float32() -> None:
    logits, labels = torch.randn(5, 2), torch.tensor([0, 1, 1, 0, 1])
    assert training_loss(logits.bfloat16(), labels, [], PLAIN).dtype == torch.float32


@pytest.mark.parametrize("term", ["none", "balance_weight", "router_z_weight"])
def test_every_router_gets_a_gradient(batch: tuple[torch.Tensor, torch.Tensor], term: str) -> None:
    """From the cross entropy alone through the gate, and from each of the other terms."""
    scheme = PLAIN if term == "none" else dataclasses.replace(PLAIN, **{term: 1.0})
    loss, model = loss_and_model(batch, scheme)
    loss.backward()
    gradients = routers(model)
    assert len(gradients) == 9
    assert all(g is not None and g.abs().sum() > 0 for g in gradients.values())
    plain, other = loss_and_model(batch, PLAIN)
    plain.backward()
    if term != "none":
        assert loss > plain
        assert any(not torch.equal(gradients[n], g) for n, g in routers(other).items())


def test_the_balance_loss_evens_out_the_experts(
    batch: tuple[torch.Tensor, torch.Tensor],
) -> None:
    """Some steps on it alone, from a router that sends all to one expert."""
    ends = {}
    for weight in (0.0, 1.0):
        torch.manual_seed(0)
        model = upcycle(build_model("mobilevitv2_050", seed=0), (4,) * 9, seed=0).train()
        layers = [m for m in model.modules() if isinstance(m, SwitchFFN)]
        parameters = [p for m in layers for p in m.router.parameters()]
        optimizer = torch.optim.Adam(parameters, lr=0.02)
        scheme = dataclasses.replace(PLAIN, balance_weight=weight)
        for _ in range(12):
            with record_routing(model) as routings:
                logits = model(batch[0])
                loss = training_loss(logits, batch[1], routings.values(), scheme)
                shares = [r.counts.float() / r.counts.sum() for r in routings.values()]
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        ends[weight] = float(torch.stack([s.max() for s in shares]).mean())
    assert ends[1.0] < ends[0.0] - 0.05
