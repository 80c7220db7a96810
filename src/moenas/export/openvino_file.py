"""OpenVINO's files, made from the routed ONNX model: ``.xml`` and, beside it, ``.bin``.

Weights stay in float32. What runs it decides what it computes in: on processors with bfloat16,
OpenVINO takes that unless told ``INFERENCE_PRECISION_HINT = f32``, as `OpenVinoModel` does.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import numpy.typing as npt
import openvino

from moenas.export.exported import Experts
from moenas.export.metadata import KEY, Details, content_of


def write_openvino(onnx_content: bytes, details: Details, layers: list[str], path: Path) -> None:
    """Write ``path`` (.xml) and its weights beside it.

    Args:
        onnx_content: The routed ONNX model.
        details: Its card, stored in the file's ``rt_info``.
        layers: Names of the Switch FFNs.
        path: Of the .xml file.
    """
    # Not convert_model, which does the same and reports its use over the network.
    model = openvino.Core().read_model(onnx_content, b"")
    model.set_rt_info(json.dumps(content_of(details, layers, "openvino")), [KEY])
    openvino.save_model(model, path, compress_to_fp16=False)


class OpenVinoModel:
    """A file of `write_openvino` on the CPU, one thread, float32; it also tells tokens' experts.

    Only for files that were just written: it trusts them.
    """

    def __init__(self, path: Path) -> None:
        core = openvino.Core()
        model = core.read_model(path)
        self.layers: list[str] = json.loads(model.get_rt_info([KEY]).astype(str))["layers"]
        if self.layers:
            model.add_outputs([f"{layer}/expert" for layer in self.layers])
        settings = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": 1}
        self.model = core.compile_model(model, "CPU", settings)

    def run(self, images: npt.NDArray[np.uint8]) -> tuple[npt.NDArray[np.float32], Experts]:
        """Return logits ``[B, K]`` and each layer's experts ``[B, tokens]``."""
        found = self.model({"image": images})
        experts: Experts = {
            layer: np.array(found[f"{layer}/expert"], np.int64).reshape(len(images), -1)
            for layer in self.layers
        }
        return np.array(found["logits"], np.float32), experts
