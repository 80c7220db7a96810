"""ExecuTorch, NCNN and LiteRT: masked experts, one image at a time, a card behind the content."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from one_block import OneBlock
from PIL import Image
from torch import nn

import small_bases  # noqa: F401 - registers the small base models
from moenas.data.dataset import normalise
from moenas.errors import CheckpointError, ConfigError, DataError, MissingDependencyError
from moenas.export.answers import Eager, answers_of
from moenas.export.backends import BACKENDS, Source, read_exported
from moenas.export.deployed import Deployed
from moenas.export.experts import MaskedExperts, SelectedExperts
from moenas.export.exported import person
from moenas.export.formats import FORMATS
from moenas.export.masked_file import write_masked
from moenas.export.metadata import Details
from moenas.export.seal import seal, unseal
from moenas.models.builder import build_model
from moenas.models.switch_ffn import SwitchFFN
from moenas.workflows.benchmark_entrants import find_entrants
from moenas.workflows.predict import predict_files

SIZE = 32
NAMES = [name for name, kind in FORMATS.items() if kind.routing == "masked"]


DETAILS = Details("mobilevitv2_050-e111111111", "probability", ("no", "yes"), SIZE, 0.5, 1)


@pytest.fixture(scope="module")
def model() -> nn.Module:
    return OneBlock("probability").eval()


@pytest.fixture(scope="module", params=NAMES)
def file(request: Any, model: nn.Module, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The model in one of the formats."""
    skip_without(request.param)
    path = tmp_path_factory.mktemp(request.param) / f"model{FORMATS[request.param].suffix}"
    BACKENDS[request.param].write(source_of(model), path)
    return path


def skip_without(name: str) -> None:
    kind = FORMATS[name]
    if kind.missing:
        pytest.skip(f"needs the extra '{kind.extra}': {kind.missing} is not installed")


def source_of(model: nn.Module) -> Source:
    return Source(model, DETAILS, lambda: some_images(4))


def some_images(count: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (count, SIZE, SIZE, 3), dtype=np.uint8)


def test_the_file_answers_as_the_model(file: Path, model: nn.Module) -> None:
    images = some_images(5)
    ours = answers_of(Eager(model), images, np.arange(5))
    exported = read_exported(file)
    assert exported is not None
    assert exported.details == DETAILS
    theirs = answers_of(exported, images, np.arange(5))
    assert np.abs(ours.logits - theirs.logits).max() < 1e-5
    ((layer, experts),) = theirs.experts.items()
    assert (experts == ours.experts[layer]).all()
    assert len(np.unique(experts)) > 1


def test_predict_takes_the_file(file: Path, model: nn.Module, tmp_path: Path) -> None:
    image = some_images(1)
    Image.fromarray(image[0]).save(tmp_path / "photo.png")
    (answer,) = predict_files(file, [tmp_path])
    (expected,) = person(answers_of(Eager(model), image, np.arange(1)).logits)
    assert answer.probability == pytest.approx(expected, abs=1e-5)


def test_benchmark_reads_the_card_in_the_file(file: Path, tmp_path: Path) -> None:
    """Without its checkpoint and without a card beside it."""
    (entrant,) = find_entrants([file], [])
    assert entrant.details == DETAILS
    assert entrant.file == file
    assert not entrant.problem
    bad = tmp_path / file.name
    bad.write_bytes(file.read_bytes()[:-5])
    (entrant,) = find_entrants([bad], [])
    assert entrant.file is None
    assert "damaged" in entrant.problem or "does not exist" in entrant.problem


def test_a_converter_that_fails_is_named(
    model: nn.Module, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("importlib.metadata.version", lambda name: "1.2.3")
    path = tmp_path / "model"

    def fail(module: nn.Module, example: tuple[torch.Tensor]) -> bytes:
        assert module(*example)[0].shape == (1, 2)
        raise RuntimeError("no such operator\nand more")

    with pytest.raises(ConfigError) as caught:
        write_masked(model, DETAILS, path, "litert", fail, "Another works.")
    assert str(caught.value) == (
        "litert-torch 1.2.3 and torch 1.2.3 cannot convert this model: no such operator "
        "Another works."
    )
    assert not path.exists()
    write_masked(model, DETAILS, path, "litert", lambda *_: b"content", "")
    content, details, layers = unseal(path)
    assert (content, details, len(layers)) == (b"content", DETAILS, 1)


def test_ncnn_names_what_it_lacks(tmp_path: Path) -> None:
    skip_without("ncnn")
    vit = build_model("small_vit", (1, 1, 2), seed=0).eval()
    with pytest.raises(ConfigError, match=r"NCNN has no operator .*'executorch'"):
        BACKENDS["ncnn"].write(source_of(vit), tmp_path / "model.ncnn.param")
    assert not list(tmp_path.iterdir())


def test_wrong_images_are_named(file: Path) -> None:
    exported = read_exported(file)
    assert exported is not None
    with pytest.raises(DataError, match=r"takes uint8 images \[batch, 32, 32, 3\]"):
        exported.run(np.zeros((1, SIZE + 1, SIZE, 3), np.uint8))
    assert len(exported.probabilities(np.empty((0, SIZE, SIZE, 3), np.uint8))) == 0


def test_a_damaged_file_never_reaches_the_runtime(file: Path, tmp_path: Path) -> None:
    parts = {path.name: path.read_bytes() for path in file.parent.iterdir()}
    copy = tmp_path / file.name
    rng = np.random.default_rng(0)
    for name, data in parts.items():
        for number in range(8):
            for other, content in parts.items():
                (tmp_path / other).write_bytes(content)
            changed = bytearray(data)
            if number < 3:
                del changed[len(changed) * number // 3 :]
            else:
                changed[int(rng.integers(len(data) // 2))] ^= 1 << int(rng.integers(8))
            (tmp_path / name).write_bytes(bytes(changed))
            with pytest.raises(CheckpointError, match=r"damaged|does not exist"):
                read_exported(copy)
        (tmp_path / name).unlink()
        with pytest.raises(CheckpointError, match="does not exist"):
            read_exported(copy)


def test_a_seal_finds_every_change(tmp_path: Path) -> None:
    path = tmp_path / "file"
    data = seal(b"content of a runtime", DETAILS, ["a"], "litert", b"text")
    path.write_bytes(data)
    assert unseal(path, b"text") == (b"content of a runtime", DETAILS, ["a"])
    with pytest.raises(CheckpointError, match="does not match"):
        unseal(path, b"texT")
    for changed in (data[1:], b"PK" + data, data[:20] + b"x" + data[20:], b"x" * 30, b""):
        path.write_bytes(changed)
        with pytest.raises(CheckpointError, match="damaged"):
            unseal(path, b"text")


@pytest.mark.parametrize("base", ["small_vit", "small_deit"])
@pytest.mark.parametrize("size", [32, 40])
def test_places_are_resampled_once(base: str, size: int) -> None:
    """Neither runtime can, and 40 pixels are padded to three patches of 16."""
    vit = build_model(base, (1, 1, 2), seed=0).eval()
    image = torch.from_numpy(some_images(2)).repeat(1, 2, 2, 1)[:, :size, :size]
    with torch.no_grad():
        deployed = Deployed(vit, size, "selected").eval()
        torch.testing.assert_close(deployed(image)[0], vit(normalise(image)), atol=1e-5, rtol=0)
        program = torch.export.export(deployed, (image,), strict=False)
    operators = {str(node.target) for node in program.graph.nodes}
    assert "aten.index_copy.default" in operators
    assert not any("upsample" in operator for operator in operators)


@pytest.mark.parametrize("gate", ["exact", "probability"])
def test_masked_experts_are_the_experts(gate: Any) -> None:
    draw = torch.Generator().manual_seed(0)
    switch = SwitchFFN(6, 10, 4, gate=gate, generator=draw)
    with torch.no_grad():
        for value in switch.parameters():
            value.add_(torch.randn(value.shape, generator=draw) * 0.3)
        switch.router.weight[2] = switch.router.weight[1]  # a tie: the first one wins
    x = torch.randn(50, 6, generator=draw)
    masked, selected = MaskedExperts(switch, "layer"), SelectedExperts(switch, "layer")
    torch.testing.assert_close(masked(x), selected(x), atol=1e-5, rtol=0)
    assert (masked.route(x)[0] == 1).any()


@pytest.mark.parametrize("name", NAMES)
def test_a_missing_extra_is_named(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    path = tmp_path / f"model{FORMATS[name].suffix}"
    with pytest.raises(MissingDependencyError, match=rf"moenas\[{FORMATS[name].extra}\]"):
        read_exported(path)


def test_what_only_other_programs_run_is_named(tmp_path: Path) -> None:
    for name in ("x.pt2", "x.xml"):
        with pytest.raises(ConfigError, match="moenas itself runs files of the formats onnx"):
            predict_files(tmp_path / name, [tmp_path])
    assert read_exported(Path("model.safetensors")) is None
