"""A small model with experts as a checkpoint, and its export; made once for all tests here."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

import small_bases  # noqa: F401 - registers the small base models
from moenas.export.card import ExportCard
from moenas.models.builder import build_model
from moenas.models.storage import save_model
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
