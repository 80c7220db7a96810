"""Families of timm: what is found in them, and that counting agrees with independent formulas."""

from __future__ import annotations

import pytest
import safetensors.torch
import timm
import torch
from timm.layers import GELU, ConvMlp, GluMlp, Mlp, NormMlpClassifierHead
from torch import nn

from moenas.errors import CheckpointError, ModelError
from moenas.models.bases import get_base
from moenas.models.builder import build_model
from moenas.models.timm_base import TimmBase, find_ffns
from moenas.models.timm_families import TIMM_FAMILIES, Family, timm_names
from small_bases import SMALL, small_base

PUBLISHED = {  # FFNs, million parameters with 2 classes: the table of docs/base-models.md
    "mobilevit_xxs": (9, 0.95),
    "vit_tiny_patch16_224": (12, 5.52),
    "deit_tiny_patch16_224": (12, 5.52),
    "convnext_atto": (12, 3.38),
    "convnext_tiny": (18, 27.82),
    "efficientformer_l1": (1, 11.39),
    "efficientformer_l3": (4, 30.38),
    "edgenext_xx_small": (12, 1.16),
    "xcit_nano_12_p16_224": (14, 2.92),
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_real_models_have_these_ffns_and_sizes(name: str) -> None:
    base = get_base(name)
    assert (len(base.layers), round(base.dense_parameters(2) / 1e6, 2)) == PUBLISHED[name]
    assert base.pretrained
    assert get_base(name) is base


def test_counting_agrees_with_the_formulas_for_mobilevitv2() -> None:
    """timm projects a key for every token, we only for the sum of them at each pixel of a patch.

    timm sums with a broadcast product, which is no matrix product; we count that product.
    """
    ours = get_base("mobilevitv2_050")
    counted = TimmBase("mobilevitv2_050", Family("as timm has it", "mobilevitv2_050"))
    assert counted.layers == ours.layers
    assert counted.dense_parameters(7) == ours.dense_parameters(7)
    size, dims = 70, [layer.dim for layer in ours.layers]  # some maps are no whole patches
    tokens = ours.tokens(size)
    assert counted.tokens(size) == tokens
    more = sum(n * d * d - 4 * d * d - n * d for n, d in zip(tokens, dims, strict=True))
    assert counted.dense_macs(size, 7) == ours.dense_macs(size, 7) + more


def test_counting_agrees_with_the_formula_for_vit() -> None:
    base = get_base("vit_tiny_patch16_224")
    for side, size in ((14, 224), (6, 85)):
        d, n = 192, side * side + 1
        layer = 4 * n * d * d + 2 * n * n * d + 2 * n * d * 4 * d
        patches = side * side * 3 * 16 * 16 * d
        assert base.dense_macs(size, 5) == patches + 12 * layer + 5 * d
        assert base.tokens(size) == (n,) * 12


def test_only_plain_ffns_are_found() -> None:
    def model(*parts: nn.Module) -> dict[str, str]:
        return {p: ffn.activation for p, ffn in find_ffns(nn.Sequential(*parts)).items()}

    assert model(
        Mlp(4, 8),
        Mlp(4, 8, act_layer=GELU),
        Mlp(4, 8, act_layer=nn.SiLU, use_conv=True),
        ConvMlp(4, 8, act_layer=nn.GELU),
    ) == {"0": "gelu", "1": "gelu", "2": "silu", "3": "gelu"}
    assert not model(
        Mlp(4, 8, act_layer=nn.ReLU),
        Mlp(4, 8, norm_layer=nn.LayerNorm),
        Mlp(4, 8, drop=0.1),
        Mlp(4, 8, 5),
        Mlp(4, 8, bias=(True, False)),
        GluMlp(4, 8),
        ConvMlp(4, 8, norm_layer=nn.BatchNorm2d, act_layer=nn.GELU),
        NormMlpClassifierHead(4, 2),
    )


def test_a_family_has_timms_names_without_tags() -> None:
    names = timm_names()
    assert set(PUBLISHED) <= set(names)
    assert len(names) > 80
    for name in ("vit_tiny_patch16_224.augreg_in21k", "vit_tiny_patch16_999", "convnextv2_atto"):
        assert not any(family.has(name) for family in TIMM_FAMILIES)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("vit_tny_patch16_224", "Did you mean 'vit_tiny_patch16_224'"),
        ("convnext_atto.d2_in1k", "Did you mean 'convnext_atto'"),
        ("resnet50", "of no family that is converted"),
        ("efficientformerv2_s0", "of no family that is converted"),
        ("?", "'. Families: MobileViTV2 of any width"),
    ],
)
def test_other_names_are_explained(name: str, message: str) -> None:
    with pytest.raises(ModelError, match="There is no base model named") as error:
        get_base(name)
    assert message in str(error.value).replace("\\", "")
    assert "ConvNeXt" in str(error.value)
    assert "docs/extending.md" in str(error.value)


def test_a_family_model_without_such_ffns_is_no_base(monkeypatch: pytest.MonkeyPatch) -> None:
    other = Family("ResNet", r"resnet\d+")
    monkeypatch.setattr("moenas.models.timm_base.TIMM_FAMILIES", (other,))
    assert TimmBase.from_name("resnet10t") is None
    assert TimmBase.from_name("resnet18") is None


def test_an_older_timm_that_reads_values_while_it_builds_is_counted_alike(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    create = timm.create_model

    def older(name: str, **options: object) -> nn.Module:
        torch.linspace(0, 1, 3)[1].item()
        return create(name, **options)

    new = small_base("small_vit")
    monkeypatch.setattr(timm, "create_model", older)
    state = torch.random.get_rng_state()
    old = small_base("small_vit")
    assert old.layers == new.layers
    assert old.dense_parameters(3) == new.dense_parameters(3)
    assert old.dense_macs(64, 3) == new.dense_macs(64, 3)
    assert torch.equal(torch.random.get_rng_state(), state)


# Weights


@pytest.mark.parametrize("name", ["small_vit", "small_convnext_of_linear_layers", "small_deit"])
def test_local_weights_with_another_head_load(name: str, tmp_path) -> None:
    timm_name, changes = SMALL[name]
    theirs = timm.create_model(timm_name, num_classes=10, **changes)
    path = tmp_path / "weights.safetensors"
    safetensors.torch.save_file(theirs.state_dict(), path)
    kept = build_model(name, num_classes=10, pretrained=path).state_dict()
    assert all(torch.equal(kept[n], value) for n, value in theirs.state_dict().items())
    model = build_model(name, num_classes=2, pretrained=path)
    heads = [n for n, v in model.state_dict().items() if v.shape != kept[n].shape]
    assert heads
    assert all(n.startswith("head") for n in heads)
    rest = {n: v for n, v in theirs.state_dict().items() if n not in heads}
    assert all(torch.equal(model.state_dict()[n], value) for n, value in rest.items())


def test_a_missing_norm_before_the_classifier_is_noticed(tmp_path) -> None:
    name = "small_convnext_of_linear_layers"
    tensors = build_model(name).state_dict()
    del tensors["head.norm.weight"]
    path = tmp_path / "weights.safetensors"
    safetensors.torch.save_file({n: t.contiguous() for n, t in tensors.items()}, path)
    with pytest.raises(CheckpointError, match=r"lacks head\.norm\.weight"):
        build_model(name, pretrained=path)


def test_published_weights_belong_to_timms_own_names_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    create, asked = timm.create_model, []

    def published(name: str, pretrained: bool = False, **options: object) -> nn.Module:
        if pretrained:
            asked.append(name)
        return create(name, **options)

    monkeypatch.setattr(timm, "create_model", published)
    with pytest.raises(ModelError, match="publishes no weights for 'small_vit'"):
        build_model("small_vit", pretrained=True)
    model = build_model("convnext_zepto_rms", pretrained=True)
    assert asked == ["convnext_zepto_rms"]
    assert model.head.fc.out_features == 2
