"""A safetensors file begins with its header's length: any first byte may come."""

from __future__ import annotations

from pathlib import Path

from torch import nn

from moenas.models.storage import load_model, save_model


def test_no_length_of_a_header_is_taken_for_a_pickle(dense: nn.Module, tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    first_bytes = set()
    for padding in range(0, 260, 8):  # headers are padded to eight bytes
        save_model(path, dense, image_size=64, extra={"note": "x" * padding})
        first_bytes.add(path.read_bytes()[0])
        assert load_model(path)[1].extra == {"note": "x" * padding}
    assert 0x80 in first_bytes
