"""Families whose models compute places from sizes: their files hold them as constants."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")

from moenas.data.dataset import normalise  # noqa: E402
from moenas.errors import ConfigError  # noqa: E402
from moenas.export.answers import Eager, answers_of  # noqa: E402
from moenas.export.deployed import exportable  # noqa: E402
from moenas.export.metadata import Details  # noqa: E402
from moenas.export.onnx_file import _check_operators, onnx_model  # noqa: E402
from moenas.export.onnx_session import OnnxModel  # noqa: E402
from moenas.export.places import FOURIER, FixedPlaces  # noqa: E402
from moenas.models.bases import get_base  # noqa: E402
from moenas.models.builder import build_model  # noqa: E402

SIZE = 40  # no multiple of a patch
FAMILIES = ("small_edgenext", "small_xcit")


def some_images(count: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (count, SIZE, SIZE, 3), dtype=np.uint8)


@pytest.mark.parametrize("base", FAMILIES)
def test_places_are_constants_for_any_batch(base: str) -> None:
    model = build_model(base, seed=0).eval()
    fixed = exportable(model, SIZE, "selected")
    assert any(isinstance(each, FixedPlaces) for each in fixed.modules())
    assert not any(isinstance(each, FOURIER) for each in fixed.modules())
    assert any(isinstance(each, FOURIER) for each in model.modules()), "the model's own stay"
    for count in (1, 3):
        images = normalise(torch.from_numpy(some_images(count)))
        with torch.no_grad():
            torch.testing.assert_close(fixed(images), model(images), atol=1e-5, rtol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("base", FAMILIES)
def test_their_onnx_files_are_read_and_answer_as_they_do(base: str, tmp_path: Path) -> None:
    """A file with an operator that is not on the list is refused, also our own."""
    layers = len(get_base(base).layers)
    model = build_model(base, [1] * (layers - 1) + [2], seed=0).eval()
    details = Details(model.architecture.id, "exact", ("no person", "person"), SIZE, 0.5, 1)
    path = tmp_path / "model.onnx"
    onnx.save(onnx_model(model, details), path)
    images, rows = some_images(3), np.arange(3)
    ours = answers_of(Eager(model), images, rows)
    theirs = answers_of(OnnxModel(path, watch=True), images, rows)
    assert np.abs(ours.logits - theirs.logits).max() < 1e-5
    for layer, experts in ours.experts.items():
        assert (experts == theirs.experts[layer]).all()


def test_an_operator_that_is_not_read_is_refused_when_it_is_written() -> None:
    def holds(*operators: str) -> onnx.ModelProto:
        nodes = [onnx.helper.make_node(name, ["x"], ["y"]) for name in operators]
        return onnx.helper.make_model(onnx.helper.make_graph(nodes, "g", [], []))

    _check_operators(holds("Gemm", "Softmax"))
    with pytest.raises(ConfigError, match="the ONNX operators CumSum, Not, which moenas"):
        _check_operators(holds("Not", "Gemm", "CumSum"))
