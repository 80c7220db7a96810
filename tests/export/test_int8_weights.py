"""8-bit weights of experts in an otherwise unchanged ONNX file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")

from moenas.errors import ConfigError  # noqa: E402
from moenas.export.answers import Eager, answers_of  # noqa: E402
from moenas.export.backends import BACKENDS, Source  # noqa: E402
from moenas.export.int8_weights import quantised  # noqa: E402
from moenas.export.onnx_session import OnnxModel, read_onnx  # noqa: E402
from moenas.models.builder import build_model  # noqa: E402
from moenas.models.storage import save_model  # noqa: E402
from moenas.workflows.export import export  # noqa: E402


def test_experts_alone_are_int8(tmp_path: Path, source: Source) -> None:
    path = tmp_path / "model.onnx"
    BACKENDS["onnx-int8-weights"].write(source, path)
    tensors = read_onnx(path).graph.initializer
    small = {tensor.name for tensor in tensors if tensor.data_type == onnx.TensorProto.INT8}
    assert small == {
        f"blocks.{block}.mlp/{expert}/fc{part}/weight/int8"
        for block, experts in ((0, 3), (2, 2))
        for expert in range(experts)
        for part in (1, 2)
    }
    assert len(path.read_bytes()) < 0.75 * len(source.onnx)
    images, rows = source.calibration()[:8], np.arange(8)
    ours = answers_of(Eager(source.model), images, rows)
    theirs = answers_of(OnnxModel(path, watch=True), images, rows)
    # Nothing before the first router has changed.
    assert (ours.experts["blocks.0.mlp"] == theirs.experts["blocks.0.mlp"]).all()
    assert 1e-6 < np.median(np.abs(ours.logits - theirs.logits)) < 0.05


def test_weights_are_off_by_half_a_step_at_most() -> None:
    weight = np.random.default_rng(0).normal(size=(40, 6)) * np.array([1, 9, 1e-3, 1, 1, 0])
    values, scale = quantised(weight)
    assert values.dtype == np.int8
    assert (np.abs(values).max(axis=0) == [127] * 5 + [0]).all()
    assert (np.abs(values * scale - weight) <= scale * 0.5001).all()
    assert scale == pytest.approx([*(np.abs(weight).max(axis=0)[:5] / 127), 1])


def test_a_model_without_experts_is_refused(tmp_path: Path, scenes: Path) -> None:
    """Its file would be the float one by another name."""
    path = tmp_path / "checkpoint.safetensors"
    save_model(path, build_model("small_vit", seed=0), image_size=32)
    with pytest.raises(ConfigError, match="has no experts, whose weights alone"):
        export(path, ["onnx", "onnx-int8-weights"], data=str(scenes))
    assert not (tmp_path / "exports").exists()
