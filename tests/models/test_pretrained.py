import os
import pickle

import pytest
import safetensors.torch
import timm
import torch

from moenas.errors import CheckpointError, ModelError
from moenas.models.builder import build_model
from moenas.models.convert import upcycle
from moenas.models.storage import save_model

BASE = "mobilevitv2_050"


@pytest.fixture(scope="module")
def timms():
    return timm.create_model(BASE, num_classes=10).eval()


def trunk(model):
    return {n: v for n, v in model.state_dict().items() if not n.startswith("head.")}


@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
def test_local_file_with_another_head(timms, tmp_path, suffix):
    path = tmp_path / f"weights{suffix}"
    if suffix == ".pth":
        torch.save({"state_dict": {f"module.{n}": v for n, v in timms.state_dict().items()}}, path)
    else:
        safetensors.torch.save_file(timms.state_dict(), path)
    model = build_model(BASE, num_classes=2, pretrained=path)
    expected = trunk(timms)
    assert all(torch.equal(value, expected[name]) for name, value in trunk(model).items())
    assert model(torch.randn(2, 3, 64, 64)).shape == (2, 2)


def test_any_model_of_timm_with_another_head(tmp_path):
    theirs = timm.create_model("lcnet_035", num_classes=10)
    safetensors.torch.save_file(theirs.state_dict(), tmp_path / "weights.safetensors")
    model = build_model("lcnet_035", num_classes=2, pretrained=tmp_path / "weights.safetensors")
    for name, value in model.state_dict().items():
        if not name.startswith("classifier."):
            assert torch.equal(value, theirs.state_dict()[name])


def test_head_of_the_right_shape_is_kept(timms, tmp_path):
    path = tmp_path / "weights.safetensors"
    safetensors.torch.save_file(timms.state_dict(), path)
    model = build_model(BASE, num_classes=10, pretrained=str(path)).eval()
    x = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(model(x), timms(x), atol=1e-5, rtol=1e-5)


def test_experts_start_from_pretrained_weights(timms, tmp_path):
    path = tmp_path / "weights.safetensors"
    safetensors.torch.save_file(timms.state_dict(), path)
    model = build_model(BASE, (3,) * 9, num_classes=10, pretrained=path).eval()
    x = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(model(x), timms(x), atol=1e-5, rtol=1e-5)


def test_our_dense_file_is_a_valid_start_and_one_with_experts_is_not(dense, tmp_path):
    save_model(tmp_path / "dense.safetensors", dense, image_size=64)
    model = build_model(BASE, pretrained=tmp_path / "dense.safetensors")
    assert torch.equal(model.head.fc.weight, dense.head.fc.weight)
    save_model(tmp_path / "moe.safetensors", upcycle(dense, (2,) * 9), image_size=64)
    with pytest.raises(CheckpointError, match=r"not of the base model .* has unknown"):
        build_model(BASE, pretrained=tmp_path / "moe.safetensors")


def test_weights_of_another_base_are_refused(timms, tmp_path):
    path = tmp_path / "weights.safetensors"
    safetensors.torch.save_file(timms.state_dict(), path)
    with pytest.raises(CheckpointError, match="'mobilevitv2_075': it has other sizes of"):
        build_model("mobilevitv2_075", pretrained=path)
    some = dict(list(timms.state_dict().items())[5:])
    safetensors.torch.save_file(some, path)
    with pytest.raises(CheckpointError, match=r"it lacks .* and 2 more"):
        build_model(BASE, pretrained=path)


def test_unreachable_weights_say_what_to_do(monkeypatch):
    def offline(*_args, **_kwargs):
        raise OSError("no route to host")

    build_model(BASE)  # the registered names build before timm is made unreachable
    create = timm.create_model
    monkeypatch.setattr(
        timm, "create_model", lambda *a, **k: offline() if k.get("pretrained") else create(*a, **k)
    )
    with pytest.raises(ModelError, match=r"not reachable .*local \.safetensors.*pretrained=False"):
        build_model(BASE, pretrained=True)


def test_a_width_without_published_weights_says_so():
    with pytest.raises(ModelError, match="publishes no weights for 'mobilevitv2_083'"):
        build_model("mobilevitv2_083", pretrained=True)


class Bomb:
    def __init__(self, mark):
        self.mark = mark

    def __reduce__(self):
        return os.mkdir, (str(self.mark),)


@pytest.mark.parametrize("name", ["bomb.pth", "bomb.safetensors", "bomb"])
@pytest.mark.parametrize("how", ["pickle", "torch"])
def test_malicious_pickles_are_refused_and_never_executed(tmp_path, name, how):
    mark = tmp_path / "executed"
    bomb = {"state_dict": {"stem.conv.weight": Bomb(mark)}}
    if how == "torch":
        torch.save(bomb, tmp_path / name)
    else:
        (tmp_path / name).write_bytes(pickle.dumps(bomb))
    with pytest.raises(CheckpointError, match="nothing in it was executed"):
        build_model(BASE, pretrained=tmp_path / name)
    assert not mark.exists()
    pickle.loads(pickle.dumps(bomb))  # negative control: the bomb does work
    assert mark.exists()


@pytest.mark.parametrize("content", [b"", b"\x00" * 50, b"hello", b"\x80\x04K\x01."])
@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_garbage_is_refused(tmp_path, content, suffix):
    path = tmp_path / f"garbage{suffix}"
    path.write_bytes(content)
    with pytest.raises(CheckpointError):
        build_model(BASE, pretrained=path)


def test_missing_file():
    with pytest.raises(CheckpointError, match="does not exist"):
        build_model(BASE, pretrained="/nowhere/weights.safetensors")
