"""Names of exported files have no seed: another seed's file in the same folder stays."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")

from moenas.errors import ConfigError
from moenas.export.formats import FORMATS
from moenas.models.builder import build_model
from moenas.models.storage import save_model
from moenas.runs import ModelFolder
from moenas.workflows.export import export
from moenas.workflows.export_place import place_of


@pytest.fixture
def out(cards: Any, tmp_path: Path) -> Path:
    """A folder with the export of one checkpoint."""
    return Path(shutil.copytree(cards[0], tmp_path / "out"))


@pytest.fixture
def other(tmp_path: Path) -> Path:
    """Another seed of the same architecture, with the same threshold."""
    folder = ModelFolder(tmp_path / "small_vit-e312-s2")
    folder.path.mkdir()
    save_model(
        folder.checkpoint, build_model("small_vit", (3, 1, 2), seed=9), image_size=32, threshold=0.4
    )
    return folder.checkpoint


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_another_seeds_file_is_not_overwritten(
    cards: Any, out: Path, other: Path, scenes: Path
) -> None:
    before = contents(out)
    with pytest.raises(ConfigError) as caught:
        export(other, out=out, data=str(scenes), force=True)
    assert f"'{out / cards[1].file}' was exported from another checkpoint" in str(caught.value)
    assert cards[1].origin.name in str(caught.value)
    assert "--out" in str(caught.value)
    assert contents(out) == before


@pytest.mark.usefixtures("shared")
def test_the_same_checkpoint_is_exported_again(
    checkpoint: Path, cards: Any, out: Path, scenes: Path, tmp_path: Path
) -> None:
    (out / cards[1].file).write_bytes(b"damaged")
    moved = tmp_path / "elsewhere" / "model.safetensors"
    moved.parent.mkdir()
    shutil.copy(checkpoint, moved)
    (card,) = export(moved, out=out, data=str(scenes))
    assert contents(out)[card.file] == contents(cards[0])[card.file]
    assert card.origin is not None
    assert card.origin.sha256 == cards[1].origin.sha256
    assert card.origin.name == "elsewhere/model.safetensors"


def test_what_its_card_does_not_tell(cards: Any, out: Path, other: Path) -> None:
    details, file = cards[1].details, out / cards[1].file
    beside = file.with_name(f"{file.name}.json")
    stored = json.loads(beside.read_text())
    place = place_of(other, out, details)
    assert place.file(FORMATS["onnx"]) == file
    with pytest.raises(ConfigError, match="another checkpoint, 'vit"):
        place.refuse_anothers(file)
    own = place_of(other, other.parent / "exports", details)
    dataclasses.replace(place, own=own.own).refuse_anothers(file)  # its own: trained again
    del stored["origin"]  # an older card
    beside.write_text(json.dumps(stored))
    place.refuse_anothers(file)
    with pytest.raises(ConfigError, match="another checkpoint; names"):
        place_of(other, out, dataclasses.replace(details, threshold=0.41)).refuse_anothers(file)
    for text in ("[]", "{", "{}", '{"origin": 3}'):
        beside.write_text(text)
        place.refuse_anothers(file)
    beside.unlink()
    place.refuse_anothers(file)
