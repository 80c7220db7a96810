from __future__ import annotations

import pytest
import torch

from moenas.errors import ModelError
from moenas.models.architecture import Architecture
from moenas.models.builder import build_model
from moenas.models.convert import architecture_of, ffn_layers, upcycle
from moenas.models.cost import count_parameters
from moenas.models.ffn import FFN
from moenas.models.routing import record_routing
from moenas.models.subnet import active_subnet, subnet
from moenas.models.switch_ffn import SwitchFFN

BASE = "mobilevitv2_050"
FULL = (4, 4, 2, 4, 4, 3, 4, 4, 4)
PART = (1, 3, 2, 1, 4, 2, 1, 2, 4)


@pytest.fixture(scope="module")
def supernet() -> torch.nn.Module:
    dense = build_model(BASE, seed=0)
    return upcycle(dense, FULL, seed=0, noise=1.0).eval()


@pytest.fixture(scope="module")
def images() -> torch.Tensor:
    return torch.randn(3, 3, 64, 64, generator=torch.Generator().manual_seed(0))


def test_a_part_is_a_model_of_its_own(supernet: torch.nn.Module) -> None:
    part = subnet(supernet, PART)
    assert architecture_of(part) == Architecture(BASE, PART)
    assert architecture_of(supernet) == Architecture(BASE, FULL)
    assert sum(p.numel() for p in part.parameters()) == count_parameters(BASE, PART)
    for layer, count in zip(ffn_layers(part).values(), PART, strict=True):
        assert isinstance(layer, FFN if count == 1 else SwitchFFN)


@pytest.mark.parametrize("experts", [PART, (1,) * 9, FULL])
def test_masked_and_taken_out_agree(
    supernet: torch.nn.Module, images: torch.Tensor, experts: tuple[int, ...]
) -> None:
    with torch.no_grad(), record_routing(supernet) as routings, active_subnet(supernet, experts):
        masked = supernet(images)
    alone = subnet(supernet, experts)(images)
    torch.testing.assert_close(masked, alone, rtol=1e-4, atol=1e-5)
    for routing, count in zip(routings.values(), experts, strict=True):
        assert int(routing.expert.max()) < count
        assert routing.active == count


def test_the_mask_ends_with_its_context(supernet: torch.nn.Module, images: torch.Tensor) -> None:
    with torch.no_grad():
        before = supernet(images)
        with active_subnet(supernet, PART):
            assert not torch.equal(supernet(images), before)
        assert torch.equal(supernet(images), before)


def test_the_first_experts_are_the_ones_that_are_used(supernet: torch.nn.Module) -> None:
    layers, parts = ffn_layers(supernet), ffn_layers(subnet(supernet, PART))
    for name, count in zip(layers, PART, strict=True):
        whole, part = layers[name], parts[name]
        assert isinstance(whole, SwitchFFN)
        if isinstance(part, SwitchFFN):
            assert torch.equal(part.fc1.weight, whole.fc1.weight[:count])
            assert torch.equal(part.router.weight, whole.router.weight[:count])
        else:
            assert torch.equal(part.fc1.weight.flatten(1), whole.fc1.weight[0])


@pytest.mark.parametrize("experts", [(1, 1, 3, 1, 1, 1, 1, 1, 1), (5,) + (1,) * 8])
def test_a_part_must_fit(supernet: torch.nn.Module, experts: tuple[int, ...]) -> None:
    with pytest.raises(ModelError, match="no part of the supernet"):
        subnet(supernet, experts)
    with (
        pytest.raises(ModelError, match="no part of the supernet"),
        active_subnet(supernet, experts),
    ):
        pass


def test_a_part_has_as_many_layers(supernet: torch.nn.Module) -> None:
    with pytest.raises(ModelError, match="needs 9 expert counts"):
        subnet(supernet, (1, 1))
