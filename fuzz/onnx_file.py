"""ONNX files: any bytes are a model of ours, or a `CheckpointError`.

The first byte says what the others are: a whole file; or the card of one whose graph is small and
whose hash is right.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import atheris
from onnx import TensorProto, helper

from harness import fuzz

with atheris.instrument_imports(include=["moenas"]):
    from moenas.export.metadata import preprocessing, read_stamp
    from moenas.export.onnx_session import read_onnx

_CARD = {
    "architecture": "mobilevitv2_050-e121113112",
    "gate": "exact",
    "classes": ["no person", "person"],
    "image_size": 64,
    "threshold": 0.4,
    "parameters": 7,
}


def _model(card: str) -> bytes:
    graph = helper.make_graph(
        [helper.make_node("Add", ["image", "one"], ["logits"])],
        "graph",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["batch", 2])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", 2])],
        [helper.make_tensor("one", TensorProto.FLOAT, [2], [1.0, 1.0])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    digest = hashlib.sha256(model.graph.SerializeToString(deterministic=True)).hexdigest()
    entry = model.metadata_props.add()
    entry.key, entry.value = "moenas", card.replace("HASH", digest)
    return bytes(model.SerializeToString())


def seeds() -> list[bytes]:
    """A file and its card."""
    content = {
        "format": 1,
        "card": _CARD,
        "preprocessing": preprocessing("onnx"),
        "layers": ["a.b"],
    }
    card = json.dumps({**content, "sha256": "HASH"})
    return [b"\0" + _model(card), b"\1" + card.encode()]


def check(data: bytes, folder: Path) -> None:
    """Parse a file and its card; ONNX Runtime is not asked."""
    path = folder / "model.onnx"
    kind, data = data[:1], data[1:]
    path.write_bytes(_model(data.decode("utf-8", "ignore")) if kind == b"\1" else data)
    model = read_onnx(path)
    details, layers = read_stamp(model, path)
    assert details.card.num_classes == len(details.classes)
    assert all(isinstance(layer, str) for layer in layers)


if __name__ == "__main__":
    fuzz(check, seeds(), text=True)
