"""The ONNX file: equal to the model, routed, small, read with distrust."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")

from one_block import OneBlock  # noqa: E402

from moenas.cli import main  # noqa: E402
from moenas.data.dataset import normalise  # noqa: E402
from moenas.errors import CheckpointError, DataError, ModelError  # noqa: E402
from moenas.export.answers import Eager, answers_of  # noqa: E402
from moenas.export.deployed import exportable  # noqa: E402
from moenas.export.formats import FORMATS  # noqa: E402
from moenas.export.metadata import Details, stamp  # noqa: E402
from moenas.export.onnx_file import onnx_model  # noqa: E402
from moenas.export.onnx_session import OnnxModel, read_onnx  # noqa: E402
from moenas.export.parity import FLOAT, Agreement  # noqa: E402
from moenas.models.builder import build_model  # noqa: E402
from moenas.models.storage import save_model  # noqa: E402
from moenas.workflows.export import export  # noqa: E402
from moenas.workflows.predict import predict_files  # noqa: E402

SIZE = 32
DETAILS = Details("mobilevitv2_050-e111111111", "exact", ("no person", "person"), SIZE, 0.5, 1)


def some_images(count: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (count, SIZE, SIZE, 3), dtype=np.uint8)


def saved(model: Any, folder: Path) -> Path:
    path = folder / "model.onnx"
    onnx.save(model, path)
    return path


@pytest.mark.parametrize("gate", ["exact", "probability"])
def test_the_block_for_export_computes_what_the_block_computes(gate: Any) -> None:
    model = OneBlock(gate).eval()
    images = normalise(torch.from_numpy(some_images(3)))
    with torch.no_grad():
        difference = (exportable(model, SIZE, "selected")(images) - model(images)).abs().max()
    assert difference < 1e-5


def test_the_file_answers_as_the_model(tmp_path: Path) -> None:
    """With the gate "probability"; the vision transformer below has the other one."""
    model = OneBlock("probability").eval()
    with torch.no_grad():
        router = model.block.transformer[0].mlp.router.weight
        router[3] = router[0]  # a tie in every token, and an expert that none visits
    path = saved(onnx_model(model, DETAILS), tmp_path)
    exported = OnnxModel(path, watch=True)
    for count in (1, 5):
        images = some_images(count)
        ours = answers_of(Eager(model), images, np.arange(count))
        theirs = answers_of(exported, images, np.arange(count))
        assert np.abs(ours.logits - theirs.logits).max() < 1e-5
        ((layer, experts),) = theirs.experts.items()
        assert (ours.experts[layer] == experts).all()
        assert set(np.unique(experts)) <= {0, 1, 2}
        assert len(np.unique(experts)) > 1
    bytes_of_parameters = 4 * sum(p.numel() for p in model.parameters())
    weights = sum(len(t.raw_data) for t in read_onnx(path).graph.initializer)
    assert weights < 1.05 * bytes_of_parameters


def test_an_export_has_its_card(cards: Any) -> None:
    out, card = cards
    parts = {card.file, f"{card.file}.json", f"{card.file}.md"}
    assert {p.name for p in out.iterdir()} == {".lock", *parts}
    assert card.bytes == (out / card.file).stat().st_size
    stored = json.loads((out / f"{card.file}.json").read_text())
    assert {each["split"] for each in stored["agreement"]} == {"val", "search"}
    for each in card.agreement:
        assert each.logits < 1e-5
        assert each.routing == each.decisions == 1
        assert each.gap_change == each.group_change == 0
    assert card.report.p_value == 1
    assert card.report.eager.accuracy == card.report.exported.accuracy
    page = (out / f"{card.file}.md").read_text()
    assert "antialiasing" in page
    assert (card.sources, stored["sources"]) == (("emoji",), ["emoji"])
    assert "Images: emoji. These are drawings, not photographs" in page
    for sources, said in (((), "\nImages: own images.\n"), (None, "")):  # None: an older card
        other = dataclasses.replace(card, sources=sources).markdown(FORMATS["onnx"])
        assert said in other
        assert ("Images:" in other, "drawings" in other) == (bool(said), False)
    assert "| allowed |  | ≤ 1e-04 | ≤ 1e-03 | ≥ 99.9% |" in page
    assert "--force" not in page


def test_predict_takes_the_file(cards: Any, checkpoint: Path, tmp_path: Path) -> None:
    out, card = cards
    for name, mode in {"rgb": "RGB", "rgba": "RGBA", "grey": "L", "deep": "I;16"}.items():
        Image.effect_noise((45, 31), 90).convert("L").convert(mode).save(tmp_path / f"{name}.png")
    (tmp_path / "no.png").write_bytes(b"no image")
    ours = predict_files(checkpoint, [tmp_path])
    theirs = predict_files(out / card.file, [tmp_path])
    for one, other in zip(ours, theirs, strict=True):
        assert (one.path, one.person, one.error) == (other.path, other.person, other.error)
        if one.probability is not None:
            assert one.probability == pytest.approx(other.probability, abs=1e-6)
    assert sum(answer.error is None for answer in theirs) == 4


def test_wrong_images_are_named(cards: Any) -> None:
    model = OnnxModel(cards[0] / cards[1].file)
    for images in (
        np.zeros((1, SIZE + 1, SIZE, 3), np.uint8),
        np.zeros((1, SIZE, SIZE, 4), np.uint8),
        np.zeros((1, SIZE, SIZE, 3), np.float32),
        np.zeros((SIZE, SIZE, 3), np.uint8),
    ):
        with pytest.raises(DataError, match=r"takes uint8 images \[batch, 32, 32, 3\]"):
            model.run(images)
    assert len(model.probabilities(np.empty((0, SIZE, SIZE, 3), np.uint8))) == 0


def test_what_is_no_file_of_ours_is_not_run(cards: Any, tmp_path: Path) -> None:
    data = (cards[0] / cards[1].file).read_bytes()
    path = tmp_path / "bad.onnx"
    for end in (0, 1, 7, 100, len(data) // 2, len(data) - 1):
        path.write_bytes(data[:end])
        with pytest.raises(CheckpointError):
            OnnxModel(path)
    rng = np.random.default_rng(0)
    for _ in range(20):
        changed = bytearray(data)
        changed[int(rng.integers(len(data)))] ^= 1 << int(rng.integers(8))
        path.write_bytes(bytes(changed))
        with contextlib.suppress(CheckpointError):  # what lies outside graph and card may change
            OnnxModel(path)
    path.write_bytes(b"\x80\x04\x95cos\nsystem\n(S'true'\ntR.")
    with pytest.raises(CheckpointError):
        OnnxModel(path)
    with pytest.raises(CheckpointError, match="does not exist"):
        OnnxModel(tmp_path / "no.onnx")


def test_hostile_graphs_are_refused_even_with_a_right_hash(cards: Any, tmp_path: Path) -> None:
    def load() -> Any:
        return onnx.load(cards[0] / cards[1].file)

    def outside(model: Any) -> None:
        tensor = model.graph.initializer[0]
        tensor.ClearField("raw_data")
        tensor.data_location = onnx.TensorProto.EXTERNAL
        entry = tensor.external_data.add()
        entry.key, entry.value = "location", "../../../etc/passwd"

    def library(model: Any) -> None:
        model.graph.node[0].domain = "com.evil"

    def loop(model: Any) -> None:
        model.graph.node[0].op_type = "Loop"

    def huge(model: Any) -> None:
        model.graph.initializer[0].dims[:] = [2**40, 2**20]

    def other_size(model: Any) -> None:
        model.graph.initializer[0].dims[:] = [7]

    for change in (outside, library, loop, huge, other_size):
        model = load()
        change(model)
        stamp(model, DETAILS, [])
        with pytest.raises(CheckpointError):
            OnnxModel(saved(model, tmp_path))
    model = load()
    del model.metadata_props[:]
    with pytest.raises(CheckpointError, match="not exported by moenas"):
        OnnxModel(saved(model, tmp_path))


def talking(answer: Any, details: Details, folder: Path) -> OnnxModel:
    """A file with a right hash whose logits are always these, whatever the images."""
    helper = onnx.helper
    graph = helper.make_graph(
        [helper.make_node("Identity", ["answer"], ["logits"])],
        "graph",
        [helper.make_tensor_value_info("image", onnx.TensorProto.UINT8, ["b", SIZE, SIZE, 3])],
        [helper.make_empty_tensor_value_info("logits")],
        [onnx.numpy_helper.from_array(np.asarray(answer), "answer")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    stamp(model, details, [])
    return OnnxModel(saved(model, folder))


@pytest.mark.parametrize("shape", [(3, 1), (3,), (2, 2), (1, 2), (0, 2), (3, 3), (3, 2, 1), ()])
def test_logits_of_another_shape_are_named(shape: tuple[int, ...], tmp_path: Path) -> None:
    model = talking(np.zeros(shape, np.float32), DETAILS, tmp_path)
    for ask in (model.run, model.probabilities):
        with pytest.raises(CheckpointError) as caught:
            ask(some_images(3))
        assert f"'logits' is float32 {list(shape)}, not float32 [3, 2]" in str(caught.value)


def test_logits_that_are_no_numbers_are_named(tmp_path: Path) -> None:
    good = np.zeros((3, 2), np.float32)
    assert talking(good, DETAILS, tmp_path).probabilities(some_images(3)).tolist() == [0.5] * 3
    for kind in (np.int64, np.bool_, str):
        with pytest.raises(CheckpointError, match=r"'logits' is .*, not float32 \[3, 2\]"):
            talking(good.astype(kind), DETAILS, tmp_path).probabilities(some_images(3))
    for value in (np.nan, np.inf):
        good[1, 0] = value
        with pytest.raises(CheckpointError, match="infinite or no numbers"):
            talking(good, DETAILS, tmp_path).probabilities(some_images(3))
    for count, said in ((1, "has 1 class: two"), (3, "has 3 classes: two")):
        other = dataclasses.replace(DETAILS, classes=tuple(f"class {i}" for i in range(count)))
        wide = np.zeros((3, count), np.float32)
        with pytest.raises(CheckpointError, match=said):
            talking(wide, other, tmp_path).probabilities(some_images(3))


def test_a_checkpoint_that_answers_with_no_numbers_is_named_too(tmp_path: Path) -> None:
    model = build_model("small_vit", seed=0)
    with torch.no_grad():
        model.get_parameter("head.bias").fill_(torch.nan)
    save_model(tmp_path / "checkpoint.safetensors", model, image_size=SIZE)
    Image.new("RGB", (20, 30)).save(tmp_path / "image.png")
    with pytest.raises(CheckpointError, match="probabilities that are no numbers"):
        predict_files(tmp_path, [tmp_path / "image.png"], device="cpu")


@pytest.mark.parametrize("classes", [1, 3])
def test_a_model_of_other_classes_is_refused(classes: int, tmp_path: Path, scenes: Path) -> None:
    """As `predict` refuses its checkpoint: which of three were a person is not known."""
    path = tmp_path / "checkpoint.safetensors"
    save_model(path, build_model("small_vit", seed=0, num_classes=classes), image_size=SIZE)
    with pytest.raises(ModelError, match=f"num_classes={classes}.*two classes are needed"):
        export(path, data=str(scenes))


def test_drawn_scenes_for_a_checkpoint_of_no_run_are_announced(
    checkpoint: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def stop(*_: object) -> None:
        raise DataError("enough")

    monkeypatch.setattr("moenas.workflows.export.open_manifest", stop)
    for data, said in ((None, 1), ("faces.parquet", 0)):
        caplog.clear()
        with caplog.at_level(logging.WARNING, "moenas"), pytest.raises(DataError, match="enough"):
            export(checkpoint, data=data)
        assert caplog.text.count("lies in no run: drawn scenes check its exports") == said


def test_an_export_that_is_not_the_model_is_refused(
    checkpoint: Path, cards: Any, scenes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a model trained with the other gate would be."""

    def off(model: nn.Module, details: Details) -> Any:
        made = onnx.load(cards[0] / cards[1].file)
        for tensor in made.graph.initializer:
            if tensor.name.endswith("head.bias"):
                values = onnx.numpy_helper.to_array(tensor) + np.array([0, 1], np.float32)
                tensor.CopyFrom(onnx.numpy_helper.from_array(values, tensor.name))
        layers = [n.name.removesuffix("/expert") for n in made.graph.node if "/expert" in n.name]
        stamp(made, details, [name for name in layers if "/" not in name])
        return made

    monkeypatch.setattr("moenas.export.onnx_file.onnx_model", off)
    with pytest.raises(ModelError, match=r"logits differ by up to 1\.0e\+00 .* --force"):
        export(checkpoint, out=tmp_path / "refused", data=str(scenes))
    assert not (tmp_path / "refused").exists()
    (card,) = export(checkpoint, out=tmp_path / "forced", data=str(scenes), force=True)
    assert card.forced
    assert "Written with `--force`" in (tmp_path / "forced" / f"{card.file}.md").read_text()


def test_tolerances() -> None:
    good = Agreement("val", 900, 1e-6, 1.0, 1.0, 0.0, 0.0, 90, 900, 1e-7)
    assert good.problems(FLOAT) == []
    two_of_70 = dataclasses.replace(good, smallest_group=70, group_change=12 / 70 - 10 / 70)
    assert two_of_70.group_change > 2 / 70  # by rounding
    assert two_of_70.problems(FLOAT) == []
    for change in (
        {"logits": 2e-4},
        {"logits": float("nan")},
        {"decisions": 0.99},
        {"routing": 0.999},
        {"group_change": 0.03},
        {"gap_change": 0.03},
        {"probability": 0.002},
        {"not_finite": 1},
    ):
        assert len(dataclasses.replace(good, **change).problems(FLOAT)) == 1, change


def test_the_list(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["export", "--list", "--json"]) == 0
    out, _ = capsys.readouterr()
    assert json.loads(out)[0]["name"] == "onnx"


def test_the_list_fits_a_small_terminal(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    assert main(["export", "--list"]) == 0
    _, err = capsys.readouterr()
    assert max(len(line) for line in err.splitlines()) <= 80
    assert "…" not in err
    for name, kind in FORMATS.items():
        assert sum(f"│ {name} " in line and kind.suffix in line for line in err.splitlines()) == 1


def test_a_missing_extra_is_named(
    checkpoint: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    for command in (["export", checkpoint], ["predict", "x.onnx", checkpoint]):
        assert main([str(each) for each in command]) == 1
        assert "moenas[export]" in " ".join(capsys.readouterr().err.split())
