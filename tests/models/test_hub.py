"""Folders and repositories: what is written comes back, and what is hostile is refused."""

from __future__ import annotations

import json
import os
import pickle
import socket
from collections.abc import Iterator
from pathlib import Path

import huggingface_hub
import pytest
import timm
import torch
from huggingface_hub import constants
from torch import nn

import moenas.timm  # noqa: F401
from fake_hub import COMMIT, TOKEN, FakeHub
from moenas import from_pretrained, load_model, push_to_hub, save_model, save_pretrained
from moenas.data.dataset import IMAGENET_MEAN, IMAGENET_STD
from moenas.errors import CheckpointError, ModelError, MoENASError
from moenas.models.convert import upcycle
from moenas.models.hub_config import PREPROCESSING
from moenas.runs import ModelFolder

# the client's own, from the way in which it uploads a file
pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")

EXPERTS = (1, 2, 1, 1, 1, 3, 1, 1, 2)
NAME = "someone/a-model"


@pytest.fixture(scope="module")
def model(dense: nn.Module) -> nn.Module:
    return upcycle(dense, EXPERTS, gate="probability", noise=0.1)


@pytest.fixture(scope="module")
def folder(model: nn.Module, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_pretrained(
        model, tmp_path_factory.mktemp("hub") / "new", image_size=64, threshold=0.4
    )


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[FakeHub]:
    """The Hub is a server of this test; loopback is the only network."""
    server = FakeHub()

    def loopback_alone(self: socket.socket, address: tuple[str, int]) -> None:
        assert address == server.server_address
        super(socket.socket, self).connect(address)  # what conftest refuses

    monkeypatch.setattr(socket.socket, "connect", loopback_alone)
    for name, value in {
        "ENDPOINT": server.url,
        "HUGGINGFACE_CO_URL_TEMPLATE": server.url + "/{repo_id}/resolve/{revision}/{filename}",
        "HF_HUB_CACHE": str(tmp_path / "cache"),
        "HF_HUB_DISABLE_XET": True,
        "HF_HUB_DISABLE_PROGRESS_BARS": True,
        "HF_HUB_OFFLINE": False,
    }.items():
        monkeypatch.setattr(constants, name, value)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setattr("huggingface_hub.utils._http.time.sleep", lambda seconds: None)
    server.start()
    yield server
    server.shutdown()
    server.server_close()
    huggingface_hub.close_session()


def files_of(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_a_folder_gives_the_model_back(
    model: nn.Module, folder: Path, images: torch.Tensor
) -> None:
    assert sorted(files_of(folder)) == ["README.md", "config.json", "model.safetensors"]
    loaded, card = from_pretrained(folder)
    assert (card.image_size, card.threshold, card.gate) == (64, 0.4, "probability")
    with torch.no_grad():
        assert torch.equal(loaded(images), model(images))
    again, _ = load_model(folder / "model.safetensors")
    assert again.architecture == model.architecture


def test_timm_prepares_images_as_we_do(folder: Path) -> None:
    assert (PREPROCESSING["mean"], PREPROCESSING["std"]) == (IMAGENET_MEAN, IMAGENET_STD)
    loaded, _ = from_pretrained(folder)
    config = timm.data.resolve_model_data_config(loaded)
    assert config == PREPROCESSING | {"input_size": (3, 64, 64)}
    steps = timm.data.create_transform(**config).transforms
    assert [type(step).__name__ for step in steps][:2] == ["Resize", "CenterCrop"]
    assert tuple(steps[0].size) == (64, 64)


def test_a_checkpoint_goes_with_its_card(model: nn.Module, tmp_path: Path) -> None:
    run = ModelFolder(tmp_path / "finalist")
    save_model(run.checkpoint, model, image_size=96, threshold=0.3, extra={"seed": 7})
    run.card.write_text("# A card\n\nmoenas predict checkpoint.safetensors", encoding="utf-8")
    for source in (run.path, run.checkpoint):
        folder = save_pretrained(source, tmp_path / source.name / "out")
        card = from_pretrained(folder)[1]
        assert (card.image_size, card.threshold, card.extra) == (96, 0.3, {"seed": 7})
        text = (folder / "README.md").read_text(encoding="utf-8")
        assert text == "# A card\n\nmoenas predict model.safetensors"


def test_what_is_published_is_one_commit_that_comes_back(
    hub: FakeHub, model: nn.Module, images: torch.Tensor
) -> None:
    url = push_to_hub(model, NAME, image_size=64, threshold=0.4, token=TOKEN)
    assert url == f"{hub.url}/{NAME}/commit/{COMMIT}"
    assert sum("/commit/" in request for request in hub.requests) == 1
    assert sorted(hub.repositories[NAME]) == ["README.md", "config.json", "model.safetensors"]
    hub.requests.clear()
    loaded, card = from_pretrained(NAME)
    assert (card.image_size, card.threshold) == (64, 0.4)
    with torch.no_grad():
        assert torch.equal(loaded(images), model(images))
    asked = {request.rpartition("/")[2] for request in hub.requests}
    assert asked == {"model.safetensors"}, "no other file is fetched"
    hub.shutdown()  # from now on the cache alone
    from_pretrained(NAME, local_files_only=True)


def test_timm_loads_what_was_published(
    hub: FakeHub, folder: Path, model: nn.Module, images: torch.Tensor
) -> None:
    push_to_hub(folder, NAME, token=TOKEN)
    assert hub.repositories[NAME] == files_of(folder), "as they are, a README of one's own too"
    for name in (f"hf-hub:{NAME}", f"hf-hub:{NAME}@{COMMIT}", f"local-dir:{folder}"):
        loaded = timm.create_model(name, pretrained=True).eval()
        assert timm.data.resolve_model_data_config(loaded)["input_size"] == (3, 64, 64)
        with torch.no_grad():
            torch.testing.assert_close(loaded(images), model(images), atol=1e-5, rtol=1e-5)


def test_a_published_dense_model_is_timms_own(
    dense: nn.Module, images: torch.Tensor, tmp_path: Path
) -> None:
    save_pretrained(dense, tmp_path, image_size=64)
    assert json.loads((tmp_path / "config.json").read_text())["architecture"] == "mobilevitv2_050"
    loaded = timm.create_model(f"local-dir:{tmp_path}", pretrained=True).eval()
    with torch.no_grad():
        torch.testing.assert_close(loaded(images), dense(images), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(
    ("name", "revision", "message"),
    [
        ("no/such/folder", None, "neither a folder nor the id"),
        ("../../etc", None, "neither a folder nor the id"),
        ("a b", None, "neither a folder nor the id"),
        ("x" * 5000, None, "neither a folder nor the id"),
        ("someone/else", None, "There is no repository 'someone/else'"),
        (NAME, "v9", "no such revision"),
        (NAME, "../../../someone/else", "no such revision"),
        (NAME, None, "has no 'model.safetensors'.* Pickles"),
    ],
)
def test_what_is_not_there_is_said(
    hub: FakeHub,
    name: str,
    revision: str | None,
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    hub.repositories[NAME] = {"pytorch_model.bin": b"", "config.json": b"{}"}
    with pytest.raises(ModelError, match=message):
        from_pretrained(name, revision=revision)
    assert not any("pytorch_model" in request for request in hub.requests)


def test_without_a_network_it_is_said(hub: FakeHub, folder: Path) -> None:
    hub.shutdown()
    hub.server_close()
    with pytest.raises(ModelError, match="Hub was not reached"):
        from_pretrained(NAME)
    with pytest.raises(ModelError, match="could not be used for"):
        push_to_hub(folder, NAME, token=TOKEN)


@pytest.mark.parametrize(("status", "message"), [(503, "status 503"), (403, r"\(403\)")])
def test_what_the_hub_answers_is_not_taken_for_no_network(
    hub: FakeHub, status: int, message: str
) -> None:
    hub.broken = status
    with pytest.raises(ModelError, match=message):
        from_pretrained(NAME)


def test_nobody_publishes_without_a_token(hub: FakeHub, folder: Path) -> None:
    with pytest.raises(ModelError, match=r"\(401\).*hf auth login") as caught:
        push_to_hub(folder, NAME, token="hf_wrong")
    assert "hf_wrong" not in str(caught.value)
    assert not hub.repositories


def test_a_model_alone_must_say_its_image_size(
    model: nn.Module, folder: Path, tmp_path: Path
) -> None:
    with pytest.raises(ModelError, match="images of what size"):
        save_pretrained(model, tmp_path)
    with pytest.raises(ModelError, match="knows its image size"):
        save_pretrained(folder, tmp_path, image_size=32)
    assert not any(tmp_path.iterdir())


def test_a_readme_of_ones_own_stays(model: nn.Module, tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text("mine", encoding="utf-8")
    save_pretrained(model, tmp_path, image_size=64)
    assert (tmp_path / "README.md").read_text(encoding="utf-8") == "mine"


class Bomb:
    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[object, ...]:
        return os.mkdir, (str(self.mark),)


@pytest.mark.parametrize("name", ["model.safetensors", "pytorch_model.bin"])
@pytest.mark.parametrize("how", ["pickle", "torch"])
def test_a_pickle_is_never_opened(folder: Path, tmp_path: Path, name: str, how: str) -> None:
    mark, bad = tmp_path / "executed", tmp_path / "bad"
    bad.mkdir()
    (bad / "config.json").write_bytes((folder / "config.json").read_bytes())
    if how == "torch":
        torch.save({"weight": Bomb(mark)}, bad / name)
    else:
        (bad / name).write_bytes(pickle.dumps(Bomb(mark)))
    with pytest.raises(CheckpointError, match="pickle"):
        from_pretrained(bad)
    with pytest.raises(CheckpointError, match="pickle"):
        timm.create_model(f"local-dir:{bad}", pretrained=True)
    assert not mark.exists()


@pytest.mark.parametrize(
    "change",
    [
        {"model_args": {"experts": "121113112"}},
        {"model_args": {"experts": [1, 2, 1, 1, 1, 3, 1, 1, 10**9]}},
        {"model_args": {"experts": [None] * 9}},
        {"model_args": {"experts": [2] * 9}},
        {"model_args": {"experts": list(EXPERTS), "gate": "exact"}},
        {"model_args": {"experts": list(EXPERTS), "gate": ["probability"]}},
        {"model_args": {"experts": list(EXPERTS), "head": {"kind": "quantum"}}},
        {"model_args": {"experts": list(EXPERTS), "checkpoint": "/etc/passwd"}},
        {"architecture": "moenas_model", "model_args": {"base": "../../etc/passwd"}},
        {"architecture": "moenas_model", "model_args": {"base": 3}},
        {"architecture": "moenas_model", "model_args": {}},
        {"architecture": "moenas_mobilevitv2_075"},
        {"num_classes": 10**12},
        {"num_classes": "2"},
        {"num_classes": -1, "model_args": {"num_classes": -1}},
        {"pretrained_cfg": {"input_size": "abc"}},
        {"pretrained_cfg": {"input_size": [3, -1, 0]}},
        {"pretrained_cfg": {"surprise": 1}},
    ],
)
def test_a_hostile_config_is_refused_by_timms_way_and_not_read_by_ours(
    folder: Path, tmp_path: Path, change: dict[str, object]
) -> None:
    for name, content in files_of(folder).items():
        (tmp_path / name).write_bytes(content)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | change))
    with pytest.raises(MoENASError):
        timm.create_model(f"local-dir:{tmp_path}", pretrained=True)
    assert from_pretrained(tmp_path)[1].threshold == 0.4


def test_a_config_cannot_name_another_file(
    hub: FakeHub, folder: Path, tmp_path: Path, images: torch.Tensor, model: nn.Module
) -> None:
    mark = tmp_path / "executed"
    (tmp_path / "bomb.bin").write_bytes(pickle.dumps(Bomb(mark)))
    config = json.loads((folder / "config.json").read_text())
    config["pretrained_cfg"] |= {
        "file": str(tmp_path / "bomb.bin"),
        "url": f"{hub.url}/bomb.bin",
        "hf_hub_filename": "../../bomb.bin",
        "custom_load": True,
        "source": "local-dir",
    }
    hub.repositories[NAME] = files_of(folder) | {"config.json": json.dumps(config).encode()}
    loaded = timm.create_model(f"hf-hub:{NAME}", pretrained=True).eval()
    with torch.no_grad():
        torch.testing.assert_close(loaded(images), model(images), atol=1e-5, rtol=1e-5)
    assert not mark.exists()
    assert not any("bomb" in request for request in hub.requests)
