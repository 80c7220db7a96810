"""Checkpoints and training states: any bytes are what was saved, or a `CheckpointError`.

The first byte says what the others are: a file; or a header, to which the right length (and for
a state the right hash) is written, so that mutations get past these.
"""

from __future__ import annotations

import hashlib
import json
import struct
from pathlib import Path

import atheris

from harness import fuzz

with atheris.instrument_imports(include=["moenas"]):
    from moenas.errors import CheckpointError
    from moenas.models.storage import load_model, read_card
    from moenas.training.checkpoint import load_state

_CARD = {
    "architecture": "mobilevitv2_050-e121113112",
    "gate": "exact",
    "num_classes": 2,
    "image_size": 64,
    "threshold": 0.4,
    "extra": {},
}
_STATE = {
    "progress": {"epoch": 1},
    "scalars": {"group/0/lr": 0.1, "optimizer/0/step": 3, "optimizer/0/m": None},
}


def seeds() -> list[bytes]:
    """A model's file and header, and a state's."""
    content = {"format": 1, "card": _CARD, "sha256": "0" * 64}
    header = json.dumps({"__metadata__": {"moenas": json.dumps(content)}}).encode()
    card, state = json.dumps(content).encode(), json.dumps(_STATE).encode()
    return [b"\0" + _file(header), b"\1" + card, b"\2" + state, b"\3" + _file(header)]


def check(data: bytes, folder: Path) -> None:
    """Read a card and a model, or a state."""
    kind, data = data[:1], data[1:]
    path = folder / "checkpoint.safetensors"
    if kind == b"\1":
        data = _file(_header({"moenas": data.decode("utf-8", "replace")}))
    elif kind == b"\2":
        text = data.decode("utf-8", "replace")
        data = _file(_header({"moenas_state": text, "sha256": _digest(text)}))
    path.write_bytes(data)
    if kind in (b"\2", b"\3"):
        state = load_state(path)  # None where it cannot be used
        assert state is None or isinstance(state.progress, dict)
        return
    read_card(path)
    try:
        load_model(path)
    except CheckpointError:
        return
    raise AssertionError("a model without weights was loaded")


def _header(metadata: dict[str, str]) -> bytes:
    return json.dumps({"__metadata__": metadata}).encode()


def _file(header: bytes) -> bytes:
    return struct.pack("<Q", len(header)) + header


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


if __name__ == "__main__":
    fuzz(check, seeds(), text=True)
