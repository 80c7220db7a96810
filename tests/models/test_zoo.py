from __future__ import annotations

from pathlib import Path

import pytest
import torch

from moenas.errors import ModelError
from moenas.models.architecture import Architecture
from moenas.models.builder import build_model
from moenas.models.convert import ffn_layers, upcycle
from moenas.models.cost import count_macs, count_parameters, layer_count
from moenas.models.storage import load_model, save_model
from moenas.models.zoo import PAPER_MODELS, get_model, is_model, model_for, models_for
from moenas.report.paper_table import paper_table

PLAIN = "lcnet_035"
TABLE = paper_table().set_index("model")["parameters_millions"]


@pytest.mark.parametrize("name", PAPER_MODELS)
def test_the_papers_models_have_the_papers_sizes(name: str) -> None:
    millions = get_model(name).dense_parameters(num_classes=2) / 1e6
    assert millions == pytest.approx(TABLE[PAPER_MODELS[name]], abs=0.01)


def test_they_are_the_tables_rows_in_its_order() -> None:
    assert list(PAPER_MODELS.values()) == list(TABLE.index[:14])


def test_proxylessnas_on_an_image() -> None:
    model = build_model("proxyless_gpu", seed=0).eval()
    assert model(torch.zeros(2, 3, 64, 64)).shape == (2, 2)
    assert sum(p.numel() for p in model.parameters()) == count_parameters("proxyless_gpu")
    strides = [m.stride[0] for m in model.modules() if isinstance(m, torch.nn.Conv2d)]
    assert strides.count(2) == 5  # a thirty-second of the side at the end


def test_a_model_without_ffns_is_an_architecture_of_its_own(tmp_path: Path) -> None:
    architecture = Architecture.dense_base(PLAIN)
    assert architecture == Architecture(PLAIN, ()) == Architecture.parse(PLAIN)
    assert architecture.id == PLAIN
    assert architecture.dense
    model = build_model(PLAIN, seed=3)
    assert ffn_layers(model) == {}
    assert upcycle(model, ()) is not model
    save_model(tmp_path / "m.safetensors", model, image_size=64, threshold=0.4)
    again, card = load_model(tmp_path / "m.safetensors")
    assert card.architecture == PLAIN
    image = torch.rand(2, 3, 64, 64)
    torch.testing.assert_close(again(image), model.eval()(image))


def test_its_size_and_work_are_its_own() -> None:
    model = build_model(PLAIN, num_classes=5)
    assert count_parameters(PLAIN, (), 5) == sum(p.numel() for p in model.parameters())
    assert count_macs("resnet18", (), 224, 1000) == pytest.approx(1.814e9, rel=0.01)  # timm's 1.8


def test_the_same_seed_builds_the_same_model() -> None:
    one, two = (build_model(PLAIN, seed=1).state_dict() for _ in range(2))
    for name, value in one.items():
        torch.testing.assert_close(value, two[name], rtol=0, atol=0)


@pytest.mark.parametrize("name", ["mobilevitv2_050", "mobilevit_xxs"])
def test_a_base_model_stays_one(name: str) -> None:
    assert get_model(name).layers
    assert Architecture.dense_base(name).id.endswith("-e111111111")


def test_what_cannot_be_searched_or_found() -> None:
    with pytest.raises(ModelError, match="of no family that is converted here"):
        layer_count("resnet18")
    with pytest.raises(ModelError, match="takes no expert counts"):
        Architecture("resnet18", (1, 2))
    with pytest.raises(ModelError, match="Did you mean 'resnet18'"):
        get_model("resnet_18")
    for name in ("hf-hub:someone/something", "resnet18.a1_in1k", "../resnet18", ""):
        assert not is_model(name)
        with pytest.raises(ModelError):
            Architecture.parse(name)


def test_models_of_one_size_are_built_for_the_wanted_one(tmp_path: Path) -> None:
    for name in ("swin_tiny_patch4_window7_224", "mixer_s32_224", "levit_128s", "gmlp_ti16_224"):
        sized = model_for(name, 64)
        assert sized == f"{name}@64"
        assert model_for(name, 224) == name
    model = build_model(sized, seed=0).eval()
    image = torch.rand(1, 3, 64, 64)
    assert model(image).shape == (1, 2)
    assert count_parameters(sized) == sum(p.numel() for p in model.parameters())
    assert Architecture.parse(sized).id == sized
    save_model(tmp_path / "m.safetensors", model, image_size=64, threshold=0.5)
    again, _ = load_model(tmp_path / "m.safetensors")
    torch.testing.assert_close(again(image), model(image))


def test_names_are_left_alone_where_the_size_is_no_matter() -> None:
    names = ("resnet18", "mobilevitv2_050", "deit_tiny_patch16_224")
    assert models_for(names, 96) == {name: name for name in names}


def test_all_models_that_cannot_take_the_images_are_named() -> None:
    with pytest.raises(ModelError) as caught:
        models_for(("resnet18", "nest_tiny", "levit_128s", "resnet_18"), 100)
    lines = str(caught.value).splitlines()
    assert [line.split("'")[1] for line in lines] == ["nest_tiny", "levit_128s", "resnet_18"]
    assert "'nest_tiny' cannot take images of 100 pixels" in lines[0]
    for name in ("resnet18@64", "lcnet_035@64"):
        with pytest.raises(ModelError, match="cannot be built for images of 64 pixels"):
            get_model(name)
    for name in ("mixer_s32_224@0", "mixer_s32_224@99999", "no_such@64", "proxyless_gpu@64"):
        with pytest.raises(ModelError):
            get_model(name)
