"""timm's own functions with our names: what a user's script calls."""

from __future__ import annotations

import importlib
import runpy
import sys
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import timm
import torch
from timm.models import resolve_model_input_args, save_for_hf
from torch import nn

import moenas.timm
from moenas import build_model, count_parameters, save_pretrained
from moenas.errors import CheckpointError, ModelError
from moenas.models.hub_config import PREPROCESSING
from moenas.models.timm_names import named_bases
from moenas.models.zoo import get_model

NAME, BASE = "moenas_mobilevitv2_050", "mobilevitv2_050"
EXPERTS = (1, 2, 1, 1, 1, 3, 1, 1, 2)


@pytest.fixture(scope="module")
def made() -> nn.Module:
    return timm.create_model(NAME, experts=EXPERTS, num_classes=2)


def test_a_name_builds_what_build_model_does(made: nn.Module, images: torch.Tensor) -> None:
    assert made.training, "as timm's models are"
    assert made.architecture.id == f"{BASE}-e121113112"
    assert sum(p.numel() for p in made.parameters()) == count_parameters(BASE, EXPERTS)
    ours = build_model(BASE, EXPERTS)
    ours.load_state_dict(made.state_dict())
    with torch.no_grad():
        torch.testing.assert_close(ours.eval()(images), made.eval()(images), atol=1e-5, rtol=1e-5)
    made.train()


def test_timm_lists_our_names() -> None:
    names = timm.list_models("moenas_*")
    assert {NAME, "moenas_convnext_atto", "moenas_model"} <= set(names)
    assert len(names) == len(named_bases()) + 1
    assert NAME in timm.list_models("moenas_*", pretrained=True)
    before = len(timm.list_models())
    importlib.reload(moenas.timm)
    assert len(timm.list_models()) == before, "a second import adds nothing"


def test_our_names_in_timm_are_no_base_models_here() -> None:
    with pytest.raises(ModelError, match=rf"no model named '{NAME}'.* Did you mean '{BASE}'"):
        get_model(NAME)


def test_images_are_prepared_as_everywhere_in_moenas(made: nn.Module) -> None:
    config = timm.data.resolve_model_data_config(made)
    assert config == PREPROCESSING | {"input_size": (3, 256, 256)}
    overlay = {"input_size": (3, 96, 96), "mean": (0.5, 0.5, 0.5)}
    other = timm.create_model(NAME, pretrained_cfg_overlay=overlay)
    config = timm.data.resolve_model_data_config(other)
    assert (config["input_size"], config["mean"]) == ((3, 96, 96), (0.5, 0.5, 0.5))
    assert other.num_classes == 1000


def test_any_model_can_be_asked_for_by_its_base() -> None:
    model = timm.create_model("moenas_model", base="mobilevitv2_083", experts=EXPERTS)
    assert model.architecture.id == "mobilevitv2_083-e121113112"
    with pytest.raises(ModelError, match="needs the name of a base model"):
        timm.create_model("moenas_model")


def test_no_classes_are_the_pooled_features(images: torch.Tensor) -> None:
    model = timm.create_model(NAME, experts=EXPERTS, num_classes=0).eval()
    assert model(images).shape == (4, 256)


def test_features_only(images: torch.Tensor) -> None:
    model = timm.create_model(NAME, experts=EXPERTS, features_only=True, out_indices=(2, 4)).eval()
    assert [tuple(map_.shape) for map_ in model(images)] == [(4, 128, 8, 8), (4, 256, 2, 2)]
    assert model.feature_info.channels() == [128, 256]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"in_chans": 1}, "3 channels, not in_chans=1"),
        ({"drop_rate": 0.1}, "no drop_rate"),
        ({"global_pool": "max"}, "pools by 'avg', not by 'max'"),
        ({"img_size": 96, "depth": 3}, "take no depth, img_size"),
        ({"experts": 121113112}, "one whole number for each layer"),
        ({"experts": (1, 2)}, "needs 9 expert counts, not 2"),
        ({"gate": "noisy"}, "Unknown gate"),
        ({"head": "magic8x2"}, "There is no head 'magic'"),
        ({"num_classes": 10**9}, "num_classes must be"),
    ],
)
def test_what_is_not_ours_is_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ModelError, match=message):
        timm.create_model(NAME, **options)
    timm.create_model(NAME, in_chans=3, drop_rate=0.0, drop_path_rate=None, global_pool="avg")


def test_experts_start_from_a_file_of_timms_weights(images: torch.Tensor, tmp_path: Path) -> None:
    theirs = timm.create_model(BASE, num_classes=10).eval()
    safetensors.torch.save_file(theirs.state_dict(), tmp_path / "weights.safetensors")
    options = {"experts": EXPERTS, "num_classes": 10, "pretrained": True}
    overlay = {"file": str(tmp_path / "weights.safetensors")}
    model = timm.create_model(NAME, pretrained_cfg_overlay=overlay, **options).eval()
    with torch.no_grad():
        torch.testing.assert_close(model(images), theirs(images), atol=1e-5, rtol=1e-5)
    with pytest.raises(CheckpointError, match=r"come from \.safetensors"):
        timm.create_model(NAME, pretrained_cfg_overlay={"file": "weights.pth"}, **options)


def test_published_weights_are_asked_for_only_with_pretrained(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[object] = []

    def note(model: object, base: object, source: object) -> None:
        asked.append(source)

    monkeypatch.setattr("moenas.models.builder.load_pretrained", note)
    timm.create_model(NAME, experts=EXPERTS)
    assert not asked
    timm.create_model(NAME, experts=EXPERTS, pretrained=True)
    assert asked == [True]


@pytest.mark.parametrize("name", [NAME, "moenas_edgenext_xx_small"])
def test_what_timm_saves_timm_loads(name: str, images: torch.Tensor, tmp_path: Path) -> None:
    experts = [2] * len(get_model(name.removeprefix("moenas_")).layers)
    model = timm.create_model(name, experts=experts, num_classes=3).eval()
    save_for_hf(model, str(tmp_path), safe_serialization=True)
    loaded = timm.create_model(f"local-dir:{tmp_path}", pretrained=True).eval()
    assert loaded.architecture == model.architecture
    with torch.no_grad():
        assert torch.equal(loaded(images), model(images))
    other = timm.create_model(f"local-dir:{tmp_path}", pretrained=True, num_classes=7).eval()
    with torch.no_grad():
        features = [m.forward_features(images) for m in (other, model)]
    assert other(images).shape == (4, 7)
    assert torch.equal(*features)


@pytest.mark.parametrize("classes", [0, 7])
def test_a_narrow_head_for_other_classes(
    classes: int, images: torch.Tensor, tmp_path: Path
) -> None:
    model = build_model(BASE, EXPERTS, seed=0, head="quantum3x1").eval()
    save_pretrained(model, tmp_path, image_size=64)
    name = f"local-dir:{tmp_path}"
    other = timm.create_model(name, pretrained=True, num_classes=classes).eval()
    with torch.no_grad():
        features = [m.forward_features(images) for m in (other, model)]
        assert other(images).shape == (len(images), classes or model.num_features)
    assert torch.equal(*features)


def test_the_way_of_timms_validate_script(made: nn.Module, tmp_path: Path) -> None:
    save_pretrained(made, tmp_path, image_size=64)
    asked = {"img_size": 96, "input_size": None, "in_chans": None}  # what its flags may say
    name = f"local-dir:{tmp_path}"
    model = timm.create_model(**resolve_model_input_args(name, asked, pretrained=True))
    assert model.architecture == made.architecture
    assert torch.equal(model.head.fc.weight, made.head.fc.weight)


SCRIPT = """
import sys, timm, beside
from timm.utils import ParseKwargs
import argparse
parser = argparse.ArgumentParser()
parser.add_argument("--model")
parser.add_argument("--model-kwargs", nargs="*", default={}, action=ParseKwargs)
args = parser.parse_args()
print(timm.create_model(args.model, **args.model_kwargs).architecture, beside.VALUE)
"""


def test_a_script_that_is_not_changed_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    script = tmp_path / "train.py"
    script.write_text(SCRIPT)
    (tmp_path / "beside.py").write_text("VALUE = 'beside'")
    kwargs = f"experts={EXPERTS}".replace(" ", "")
    monkeypatch.setattr(
        sys, "argv", ["moenas.timm", str(script), "--model", NAME, "--model-kwargs", kwargs]
    )
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.delitem(sys.modules, "moenas.timm")  # runpy warns of what is imported already
    runpy.run_module("moenas.timm", run_name="__main__")
    assert capsys.readouterr().out == f"{BASE}-e121113112 beside\n"
