"""A model with a quantum head: exported as plain matrices, read back with distrust."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import small_bases  # noqa: F401 - registers the small base models
from moenas.data.dataset import normalise
from moenas.errors import ConfigError
from moenas.export.answers import Eager, answers_of
from moenas.export.backends import BACKENDS, Source
from moenas.export.circuit import FixedCircuit
from moenas.export.deployed import exportable
from moenas.export.formats import FORMATS
from moenas.export.metadata import Details
from moenas.models.builder import build_model
from moenas.models.heads import Head
from moenas.models.quantum_circuit import QuantumCircuit
from moenas.models.quantum_head import with_head

SIZE = 32


@pytest.fixture(scope="module")
def model() -> nn.Module:
    return with_head(build_model("small_convnext_of_linear_layers", seed=0), Head("quantum", 5, 2))


def source_of(model: nn.Module) -> Source:
    details = Details(model.architecture.id, "exact", ("no", "yes"), SIZE, 0.5, 1)  # type: ignore[union-attr]
    return Source(model, details, lambda: images(4))


def images(count: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (count, SIZE, SIZE, 3), dtype=np.uint8)


def test_its_rotations_are_constants(model: nn.Module) -> None:
    copy = exportable(model, SIZE, "selected")
    x = normalise(torch.from_numpy(images(3)))
    with torch.no_grad():
        torch.testing.assert_close(copy(x), model.eval()(x), atol=1e-6, rtol=0)
    assert sum(isinstance(each, FixedCircuit) for each in copy.modules()) == 1
    circuit = next(each for each in model.modules() if isinstance(each, QuantumCircuit))
    assert circuit.weight.requires_grad  # the model itself is as it was


@pytest.mark.slow
def test_the_onnx_file_answers_as_the_model(model: nn.Module, tmp_path: Path) -> None:
    for name in ("onnx", "onnxscript", "onnxruntime"):
        pytest.importorskip(name)
    path = tmp_path / "model.onnx"
    BACKENDS["onnx"].write(source_of(model), path)
    runner = BACKENDS["onnx"].open(path)
    for count in (1, 5):
        rows = np.arange(count)
        ours = answers_of(Eager(model), images(count), rows)
        theirs = answers_of(runner, images(count), rows)
        assert np.abs(ours.logits - theirs.logits).max() < 1e-6


def test_ncnn_refuses_it(model: nn.Module, tmp_path: Path) -> None:
    if FORMATS["ncnn"].missing:
        pytest.skip("needs the extra 'ncnn'")
    with pytest.raises(ConfigError, match=r"NCNN has no operator .*a linear head"):
        BACKENDS["ncnn"].write(source_of(model), tmp_path / "model.ncnn.param")
