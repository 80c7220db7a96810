"""A small model with experts as a checkpoint, and its export; made once for all tests here."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

import small_bases  # noqa: F401 - registers the small base models
from moenas.data.cache import cached_images
from moenas.export.backends import Source
from moenas.export.calibration import calibration_images
from moenas.export.card import ExportCard
from moenas.export.metadata import Details
from moenas.models.builder import build_model
from moenas.models.storage import load_model, save_model
from moenas.runs import cache_home
from moenas.workflows.data import open_manifest
from moenas.workflows.export import export

SIZE = 32


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A vision transformer with 3, 1 and 2 experts that differ."""
    model = build_model("small_vit", (3, 1, 2), seed=0)
    draw = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if ".mlp." in name or "head" in name:
                parameter.add_(torch.randn(parameter.shape, generator=draw) * 0.3)
    path = tmp_path_factory.mktemp("vit") / "checkpoint.safetensors"
    save_model(path, model, image_size=SIZE, threshold=0.4)
    return path


@pytest.fixture(scope="session")
def cards(
    checkpoint: Path, scenes: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, ExportCard]:
    """A folder with its ONNX export, and the export's card."""
    out = tmp_path_factory.mktemp("exports")
    (card,) = export(checkpoint, out=out, data=str(scenes))
    return out, card


@pytest.fixture(scope="session")
def source(checkpoint: Path, scenes: Path, cards: tuple[Path, ExportCard]) -> Source:
    """Of the model whose ONNX file is there: torch's exporter takes seconds."""
    model, card = load_model(checkpoint)
    manifest = open_manifest(str(scenes), SIZE)
    images = cached_images(manifest, SIZE, cache_home() / "images")
    parameters = sum(p.numel() for p in model.parameters())
    details = Details.of(card, parameters)
    result = Source(model, details, lambda: calibration_images(manifest, images))
    result.onnx = (cards[0] / cards[1].file).read_bytes()
    return result


@pytest.fixture
def shared(source: Source, monkeypatch: pytest.MonkeyPatch) -> None:
    """`export` takes the ONNX model that is there."""
    import onnx

    content = source.onnx
    monkeypatch.setattr(
        "moenas.export.onnx_file.onnx_model",
        lambda model, details: onnx.load_model_from_string(content),
    )
