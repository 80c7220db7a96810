from __future__ import annotations

import copy

import pytest
import timm
import torch
from timm.layers import DropPath
from torch import nn

from moenas.models.builder import build_model
from moenas.models.zoo import PAPER_MODELS, get_model
from moenas.training.dropout import classifier_dropout, classifiers, stochastic_depth


def test_a_share_of_the_classifiers_inputs_is_dropped_in_training() -> None:
    model = nn.Sequential(nn.Linear(4, 1000), nn.Linear(1000, 1000, bias=False))
    nn.init.constant_(model[0].weight, 0.25)
    nn.init.zeros_(model[0].bias)
    nn.init.eye_(model[1].weight)
    x = torch.ones(1, 4)
    torch.manual_seed(0)
    with classifier_dropout(model, 0.2):
        y = model.train()(x)
        assert torch.equal(model.eval()(x), torch.ones(1, 1000))
    assert set(y.unique().tolist()) == {0.0, 1.25}
    assert 150 < int((y == 0).sum()) < 250  # binomial(1000, .2): +-4 deviations
    assert torch.equal(model.train()(x), torch.ones(1, 1000))  # over when the context is


def test_models_of_the_zoo_have_a_classifier_to_drop_from() -> None:
    model = build_model("mobilevitv2_050", seed=0).train()
    image = torch.rand(2, 3, 64, 64)
    for norm in (m for m in model.modules() if isinstance(m, nn.BatchNorm2d)):
        norm.eval()
    torch.manual_seed(0)
    with classifier_dropout(model, 0.5):
        assert not torch.equal(model(image), model(image))
    with classifier_dropout(model, 0.0):
        assert torch.equal(model(image), model(image))


def on_meta(name: str, **options: float) -> nn.Module:
    with torch.device("meta"):
        return timm.create_model(name, num_classes=2, **options)


@pytest.mark.parametrize(
    ("name", "heads"),
    [
        ("deit_tiny_distilled_patch16_224", ["head", "head_dist"]),
        ("levit_128s", ["head.linear", "head_dist.linear"]),
        ("efficientformer_l1", ["head", "head_dist"]),
        ("repvit_m1_1", ["head.head.l", "head.head_dist.l"]),
        ("xcit_nano_12_p16_224", ["head"]),
        ("hrnet_w18_small", ["classifier"]),
    ],
)
def test_each_head_has_its_dropout(name: str, heads: list[str]) -> None:
    model = on_meta(name)
    names = {module: path for path, module in model.named_modules()}
    assert [names[layer] for layer in classifiers(model)] == heads
    with classifier_dropout(model, 0.2):
        dropping = [path for module, path in names.items() if module._forward_pre_hooks]
        assert dropping == heads
    assert not any(module._forward_pre_hooks for module in names)


@pytest.mark.parametrize("name", PAPER_MODELS)
def test_every_model_of_the_paper_has_one_classifier(name: str) -> None:
    with torch.device("meta"):
        (layer,) = classifiers(get_model(name).create(2))
    assert layer.weight.shape[0] == 2


def rates(model: nn.Module) -> dict[str, float]:
    return {
        path: module.drop_prob
        for path, module in model.named_modules()
        if isinstance(module, DropPath) and module.drop_prob
    }


@pytest.mark.parametrize("name", PAPER_MODELS)
def test_stochastic_depth_is_where_timm_has_it(name: str) -> None:
    """timm's EfficientNets have the very same rates, other models the same places."""
    with torch.device("meta"):
        model = get_model(name).create(2)
    before = str(model)
    with stochastic_depth(model, 0.2):
        found = rates(model)
    assert str(model) == before
    if name == "proxyless_gpu":
        assert len(found) == 13  # all blocks but the first
        return
    try:
        expected = rates(on_meta(name, drop_path_rate=0.2))
    except TypeError:  # no place for it
        assert found == {}
        return
    if type(model).__name__ in ("EfficientNet", "MobileNetV3"):
        assert found == pytest.approx(expected)
    else:
        assert set(found) == set(expected)
        assert list(found.values()) == sorted(found.values())
        assert max(found.values()) < 0.2


def test_blocks_are_skipped_in_training_alone() -> None:
    model = build_model("tinynet_e", seed=0)
    for norm in (m for m in model.modules() if isinstance(m, nn.BatchNorm2d)):
        norm.track_running_stats = False
    image = torch.rand(4, 3, 64, 64)
    model.train()
    torch.manual_seed(0)
    with stochastic_depth(model, 0.5):
        assert not torch.equal(model(image), model(image))
        model.eval()
        assert torch.equal(model(image), model(image))
        copied = copy.deepcopy(model).state_dict()
    assert copied.keys() == model.state_dict().keys()
    with stochastic_depth(model.train(), 0.0):
        assert torch.equal(model(image), model(image))
