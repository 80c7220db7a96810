from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from moenas.models.ffn import FFN
from moenas.models.switch_ffn import SwitchFFN
from moenas.training.expert_sharing import share_gradients


def trained(share: float, x: torch.Tensor) -> tuple[SwitchFFN, FFN]:
    """A Switch FFN and the dense FFN that its experts are copies of, after one backward pass."""
    torch.manual_seed(0)
    dense = FFN(nn.Conv2d(8, 16, 1), nn.Conv2d(16, 8, 1))
    switch = SwitchFFN.from_ffn(dense, 4)
    for module in (switch, dense):
        module(x).square().sum().backward()
    share_gradients(switch, share)
    return switch, dense


def test_shared_gradients_are_those_of_the_dense_ffn() -> None:
    switch, dense = trained(1.0, torch.randn(50, 8))
    for layer, plain in ((switch.fc1, dense.fc1), (switch.fc2, dense.fc2)):
        for expert in range(4):
            torch.testing.assert_close(layer.weight.grad[expert], plain.weight.grad.flatten(1))
            torch.testing.assert_close(layer.bias.grad[expert], plain.bias.grad)


def test_no_sharing_leaves_gradients_alone() -> None:
    x = torch.randn(50, 8)
    switch, _ = trained(0.0, x)
    alone = copy.deepcopy(switch)
    for parameter in alone.parameters():
        parameter.grad = None
    alone(x).square().sum().backward()
    for one, other in zip(switch.parameters(), alone.parameters(), strict=True):
        assert torch.equal(one.grad, other.grad)


@pytest.mark.parametrize("share", [0.5, 0.95])
def test_what_is_mixed(share: float) -> None:
    x = torch.randn(50, 8)
    own = trained(0.0, x)[0].fc2.weight.grad
    mixed = trained(share, x)[0].fc2.weight.grad
    torch.testing.assert_close(mixed, share * own.sum(0) + (1 - share) * 4 * own)
    assert mixed.std(0).max() > 0  # experts still differ


def test_an_expert_without_tokens_follows_the_others() -> None:
    switch = SwitchFFN(8, 16, 3)
    with torch.no_grad():
        switch.router.weight.zero_()  # all to expert 0
    switch(torch.randn(20, 8)).square().sum().backward()
    share_gradients(switch, 0.9)
    grad = switch.fc1.weight.grad
    torch.testing.assert_close(grad[1], grad[2])
    torch.testing.assert_close(grad[1] * (0.9 + 0.3) / 0.9, grad[0])


def test_routers_and_other_layers_are_left_alone() -> None:
    switch = SwitchFFN(8, 16, 3)
    model = nn.Sequential(nn.Linear(8, 8), switch, nn.Linear(8, 2))
    model(torch.randn(20, 8)).square().sum().backward()
    before = {n: p.grad.clone() for n, p in model.named_parameters()}
    share_gradients(model, 0.9)
    for name, parameter in model.named_parameters():
        assert torch.equal(parameter.grad, before[name]) == ("fc" not in name), name


def test_what_is_frozen_has_no_gradient() -> None:
    switch = SwitchFFN(8, 16, 3)
    switch.fc1.requires_grad_(False)
    switch(torch.randn(20, 8)).square().sum().backward()
    share_gradients(switch, 0.9)
    assert switch.fc1.weight.grad is None
