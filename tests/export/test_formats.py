"""The other formats: int8, OpenVINO and torch.export, each held against the model."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")

from moenas.data.cache import cached_images  # noqa: E402
from moenas.errors import DataError, MissingDependencyError, ModelError  # noqa: E402
from moenas.export.answers import Eager, answers_of  # noqa: E402
from moenas.export.backends import BACKENDS, Source  # noqa: E402
from moenas.export.calibration import calibration_images  # noqa: E402
from moenas.export.formats import FORMATS  # noqa: E402
from moenas.export.int8 import int8_model  # noqa: E402
from moenas.export.onnx_session import OnnxModel, read_onnx  # noqa: E402
from moenas.export.parity import INT8  # noqa: E402
from moenas.runs import cache_home  # noqa: E402
from moenas.workflows.data import open_manifest  # noqa: E402
from moenas.workflows.export import export  # noqa: E402
from moenas.workflows.predict import predict_files  # noqa: E402

SIZE = 32


def some_images(count: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (count, SIZE, SIZE, 3), dtype=np.uint8)


def test_every_format_has_a_backend() -> None:
    assert list(BACKENDS) == list(FORMATS)
    assert [name for name, backend in BACKENDS.items() if backend.tolerances is INT8] == [
        name for name, kind in FORMATS.items() if kind.int8
    ]


@pytest.mark.parametrize("name", ["openvino", "pt2"])
def test_a_float_format_answers_as_the_model(name: str, source: Source, tmp_path: Path) -> None:
    if FORMATS[name].missing:
        pytest.skip(f"needs the extra '{FORMATS[name].extra}'")
    path = tmp_path / f"model{FORMATS[name].suffix}"
    BACKENDS[name].write(source, path)
    runner = BACKENDS[name].open(path)
    for count in (1, 5):
        images = some_images(count)
        ours = answers_of(Eager(source.model), images, np.arange(count))
        theirs = answers_of(runner, images, np.arange(count))
        assert np.abs(ours.logits - theirs.logits).max() < 1e-5
        assert ours.experts.keys() == theirs.experts.keys()
        for layer, experts in ours.experts.items():
            assert (experts == theirs.experts[layer]).all()
            assert len(np.unique(experts)) > 1


def test_int8_is_int8_but_for_the_routers(source: Source, tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    BACKENDS["onnx-int8"].write(source, path)
    model = read_onnx(path)
    types = {tensor.name: tensor.data_type for tensor in model.graph.initializer}
    made = {name: node for node in model.graph.node for name in node.output}
    routers = 0
    for node in model.graph.node:
        if node.op_type != "Gemm":
            continue
        if node.name.endswith("mlp/logits"):
            assert types[node.input[0]] == onnx.TensorProto.FLOAT
            assert made[node.input[1]].op_type != "DequantizeLinear"
            routers += 1
        else:
            weight = made[node.input[1]]
            assert types[weight.input[0]] == onnx.TensorProto.INT8
            assert made[node.input[0]].op_type == "DequantizeLinear"
    assert routers == 2
    rows = np.arange(40)
    ours = answers_of(Eager(source.model), source.calibration(), rows % 32)
    theirs = answers_of(OnnxModel(path, watch=True), source.calibration(), rows % 32)
    same = np.mean([(e == theirs.experts[layer]).mean() for layer, e in ours.experts.items()])
    assert same > 0.95
    # The median: a token that goes to another of these wild experts changes its image's logits.
    assert 1e-4 < np.median(np.abs(ours.logits - theirs.logits)) < 0.1


def test_int8_of_an_expert_that_no_calibration_image_visits(source: Source, tmp_path: Path) -> None:
    images = some_images(8)
    model = onnx.load_model_from_string(source.onnx)
    for tensor in model.graph.initializer:
        if tensor.name == "blocks.0.mlp/router_bias":
            values = onnx.numpy_helper.to_array(tensor).copy()
            values[1] = -1e9
            tensor.CopyFrom(onnx.numpy_helper.from_array(values, tensor.name))
    before = model.SerializeToString()
    path = tmp_path / "model.onnx"
    onnx.save(int8_model(before, source.details, images), path)
    scales = {
        tensor.name.removesuffix("_scale"): float(onnx.numpy_helper.to_array(tensor))
        for tensor in read_onnx(path).graph.initializer
        if tensor.name.endswith(("parts/0_scale", "parts/1_scale", "act_scale"))
    }
    name = "blocks.0.mlp"
    assert scales[f"{name}/parts/1"] == scales[f"{name}/parts/0"]
    widest = max(scales[f"{name}/{index}/act"] for index in (0, 2))
    assert widest <= scales[f"{name}/1/act"] < 2 * widest
    logits, experts = OnnxModel(path, watch=True).run(images)
    assert np.isfinite(logits).all()
    assert 1 not in experts["blocks.0.mlp"]


@pytest.mark.usefixtures("shared")
def test_export_writes_all_formats_with_cards(
    checkpoint: Path, scenes: Path, tmp_path: Path
) -> None:
    names = [name for name, kind in FORMATS.items() if kind.missing is None]
    names.remove("ncnn") if "ncnn" in names else None  # which has no operator for this model
    cards = export(checkpoint, names, tmp_path, data=str(scenes))
    assert [card.format for card in cards] == names
    for card in cards:
        files = [tmp_path / card.file]
        if card.format == "openvino":
            files.append(files[0].with_suffix(".bin"))
        assert card.bytes == sum(file.stat().st_size for file in files)
        assert (tmp_path / f"{card.file}.md").exists()
        assert card.report is not None
        assert card.tolerances == BACKENDS[card.format].tolerances
    sizes = {card.format: card.bytes for card in cards}
    assert sizes["onnx-int8"] < 0.5 * sizes["onnx"]
    small = next(card for card in cards if card.format == "onnx-int8")
    image = next(path for path in scenes.parent.rglob("*.png"))
    (answer,) = predict_files(tmp_path / small.file, [image])
    assert answer.probability is not None


@pytest.mark.usefixtures("shared")
def test_a_bad_int8_file_is_refused(
    checkpoint: Path, scenes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ranges of black images say nothing of others."""
    black: Any = np.zeros((4, SIZE, SIZE, 3), np.uint8)
    monkeypatch.setattr("moenas.workflows.export.calibration_images", lambda *_: black)
    with pytest.raises(ModelError, match=r"int8\.onnx' was not written"):
        export(checkpoint, ["onnx-int8"], tmp_path, data=str(scenes))
    assert not list(tmp_path.iterdir())


def test_calibration_images_are_balanced(scenes: Path) -> None:
    manifest = open_manifest(str(scenes), SIZE)
    images = cached_images(manifest, SIZE, cache_home() / "images")
    frame = manifest.frame
    frame["split"], frame["label"], frame["group"] = "train", 1, 1
    frame["lighting"] = "well_lit"
    frame.loc[:9, "group"] = 2
    frame.loc[10:12, "lighting"] = "dimly_lit"
    store = dataclasses.replace(images, images=np.arange(len(frame)))
    chosen = calibration_images(manifest, store, 23)
    assert [(chosen < 10).sum(), ((chosen >= 10) & (chosen < 13)).sum()] == [10, 3]
    frame["split"] = "val"
    with pytest.raises(DataError, match="split 'train'"):
        calibration_images(manifest, store)


def test_the_extra_of_openvino_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(MissingDependencyError, match=r"moenas\[openvino\]"):
        FORMATS["openvino"].require()
    FORMATS["pt2"].require()
    assert torch.export
