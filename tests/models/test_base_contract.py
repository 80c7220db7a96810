"""What every base model promises, on the smallest model of each family."""

from __future__ import annotations

import copy
import functools

import pytest
import timm
import torch
from torch import nn

from moenas.errors import ModelError
from moenas.models.architecture import Architecture
from moenas.models.bases import get_base
from moenas.models.builder import build_model
from moenas.models.convert import architecture_of, ffn_layers, remove_expert, upcycle
from moenas.models.cost import count_macs, count_parameters
from moenas.models.ffn import FFN
from moenas.models.folding import fold_batch_norms
from moenas.models.routing import disabled_experts
from moenas.models.storage import load_model, save_model
from moenas.models.switch_ffn import SwitchFFN
from moenas.models.timm_families import TIMM_FAMILIES
from small_bases import SMALL, small_base

SIZE = 64
NAMES = ("mobilevitv2_025", *SMALL)
every_base = pytest.mark.parametrize("name", NAMES)


def images(size: int = SIZE, count: int = 2) -> torch.Tensor:
    return torch.randn(count, 3, size, size, generator=torch.Generator().manual_seed(size))


@functools.cache
def trained(name: str) -> nn.Module:
    """A dense model after a few steps of the optimiser; tests must not change it."""
    model = build_model(name, seed=0).train()
    optimizer = torch.optim.AdamW(model.parameters(), 3e-3)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        for _ in range(2):
            loss = nn.functional.cross_entropy(model(images()), torch.tensor([0, 1]))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    return model.eval()


def mixed(name: str) -> tuple[int, ...]:
    """3, 1, 2, 3, 1, 2, ... experts."""
    return tuple((3, 1, 2)[i % 3] for i in range(len(get_base(name).layers)))


def close(got: torch.Tensor, expected: torch.Tensor) -> None:
    assert expected.std() > 1e-4  # the comparison is not of zeros
    torch.testing.assert_close(got, expected, atol=1e-5, rtol=0)


def test_every_family_is_here() -> None:
    for family in TIMM_FAMILIES:
        assert any(family.has(timm_name) for timm_name, _ in SMALL.values()), family.name


@pytest.mark.parametrize("name", SMALL)
def test_output_and_state_dict_are_timms(name: str) -> None:
    """At timm's own image size; where timm takes others, there too."""
    ours, (timm_name, changes) = trained(name), SMALL[name]
    theirs = timm.create_model(timm_name, num_classes=2, **changes).eval()
    theirs.load_state_dict(ours.state_dict())
    copy.deepcopy(ours).load_state_dict(theirs.state_dict())
    fixed = name in ("small_vit", "small_deit", "small_efficientformer")
    with torch.no_grad():
        for size in (224,) if fixed else (SIZE, 96):
            close(ours(images(size)), theirs(images(size)))


@every_base
def test_layers_are_the_ffns_in_the_order_of_an_image(name: str) -> None:
    model, base = trained(name), get_base(name)
    seen: list[tuple[str, int]] = []
    handles = [
        ffn.register_forward_hook(
            lambda ffn, inputs, _, path=path: seen.append((path, inputs[0].numel() // ffn.dim))
        )
        for path, ffn in ffn_layers(model).items()
    ]
    with torch.no_grad():
        model(images(count=1))
    for handle in handles:
        handle.remove()
    assert seen == list(zip((layer.name for layer in base.layers), base.tokens(SIZE), strict=True))
    for layer, ffn in zip(base.layers, ffn_layers(model).values(), strict=True):
        assert (ffn.dim, ffn.hidden) == (layer.dim, layer.hidden)
        assert sum(p.numel() for p in ffn.parameters()) == layer.expert_parameters


@every_base
def test_equal_experts_reproduce_the_output(name: str) -> None:
    dense = trained(name)
    model = upcycle(dense, mixed(name))
    kinds = [type(ffn) for ffn in ffn_layers(model).values()]
    assert kinds == [FFN if count == 1 else SwitchFFN for count in mixed(name)]
    with torch.no_grad():
        for size in (SIZE, 85):
            close(model(images(size)), dense(images(size)))


@every_base
def test_gradients_reach_every_router_and_expert_weight(name: str) -> None:
    model = upcycle(trained(name), mixed(name)).train()
    model(images()).square().sum().backward()
    for path, ffn in ffn_layers(model).items():
        for parameter_name, parameter in ffn.named_parameters():
            assert parameter.grad is not None
            assert parameter.grad.isfinite().all()
            if "weight" in parameter_name:
                assert parameter.grad.abs().max() > 0, (path, parameter_name)


@every_base
def test_parameters_are_exact_and_macs_add_up(name: str) -> None:
    for classes in (1, 7):
        model = get_base(name).create(classes)
        assert count_parameters(name, None, classes) == sum(p.numel() for p in model.parameters())
    experts = mixed(name)
    model = upcycle(trained(name), experts)
    assert count_parameters(name, experts) == sum(p.numel() for p in model.parameters())
    dense = count_macs(name, None, SIZE)
    assert dense > 0
    routers = [
        count_macs(name, tuple(n if i == j else 1 for j in range(len(experts))), SIZE) - dense
        for i, n in enumerate(experts)
    ]
    assert count_macs(name, experts, SIZE) - dense == sum(routers)
    assert all((cost > 0) == (n > 1) for cost, n in zip(routers, experts, strict=True))
    assert count_macs(name, None, 2 * SIZE) > 2 * dense


@every_base
def test_saved_and_loaded_it_is_the_same(name: str, tmp_path) -> None:
    model = upcycle(trained(name), mixed(name), noise=0.1)
    save_model(tmp_path / "model.safetensors", model, image_size=SIZE)
    loaded, card = load_model(tmp_path / "model.safetensors")
    assert Architecture.parse(card.architecture) == architecture_of(model)
    with torch.no_grad():
        assert torch.equal(loaded(images()), model(images()))


@every_base
def test_a_removed_expert_is_a_disabled_one(name: str) -> None:
    model = upcycle(trained(name), mixed(name), noise=0.3)
    layer = get_base(name).layers[0].name
    smaller = remove_expert(model, layer, 1)
    with torch.no_grad(), disabled_experts(model, {layer: {1}}):
        close(smaller(images()), model(images()))
    last = remove_expert(smaller, layer, 0)
    plain = trained(name).get_submodule(layer)
    shapes = {n: value.shape for n, value in last.get_submodule(layer).state_dict().items()}
    assert shapes == {n: value.shape for n, value in plain.state_dict().items()}


@every_base
def test_folded_it_computes_the_same(name: str) -> None:
    model = copy.deepcopy(trained(name))
    generator = torch.Generator().manual_seed(3)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1, generator=generator)
            module.running_var.uniform_(0.5, 2, generator=generator)
    folded = fold_batch_norms(model)
    with torch.no_grad():
        close(folded(images()), model(images()))
    left = [m for m in folded.modules() if isinstance(m, nn.BatchNorm2d)]
    assert bool(left) == (name == "small_xcit")  # there they follow an activation


@pytest.mark.parametrize("name", ["small_convnext_of_convolutions", "small_vit"])
def test_counting_draws_no_random_number(name: str) -> None:
    state = torch.random.get_rng_state()
    base = small_base(name)
    assert base is not None
    base.dense_macs(SIZE, 2)
    assert torch.equal(torch.random.get_rng_state(), state)


def test_other_image_sizes_and_shapes_than_an_efficientformer_takes_are_explained() -> None:
    model = trained("small_efficientformer")
    for x in (images(256, 1), torch.randn(1, 3, 64, 96)):
        with pytest.raises(ModelError, match="square images of at most 224 pixels"):
            model(x)
    with pytest.raises(ModelError, match="at most 224"):
        count_macs("small_efficientformer", None, 256)
