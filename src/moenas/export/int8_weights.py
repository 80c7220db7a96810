"""An ONNX model whose experts' weights are stored in 8 bits; all that is computed stays float32.

Symmetric, one scale for each output feature of each expert, a DequantizeLinear before each product.
No calibration images, no ranges of activations: tokens meet the same router on nearly the same
numbers. ONNX Runtime widens the weights at each run, which takes a tenth longer (measured, 1.81M).
Opset 18 has all of it, so what runs the float file runs this one.
"""

from __future__ import annotations

import re

import numpy as np
import numpy.typing as npt
import onnx
from onnx import helper, numpy_helper

from moenas.export.metadata import Details, layers_of, stamp


def int8_weights_model(content: bytes, details: Details) -> onnx.ModelProto:
    """Return a routed ONNX model with its experts' weights as int8.

    Args:
        content: The model in float32, as `onnx_model` makes it.
        details: Its card.
    """
    model = onnx.load_model_from_string(content)
    layers = layers_of(model)
    names = "|".join(re.escape(layer) for layer in layers)
    expert = re.compile(rf"(?:{names})/\d+/fc[12]/weight")
    kept: list[onnx.TensorProto] = []
    nodes: list[onnx.NodeProto] = []
    for tensor in model.graph.initializer:
        if not expert.fullmatch(tensor.name):
            kept.append(tensor)
            continue
        values, scale = quantised(numpy_helper.to_array(tensor))
        parts = [f"{tensor.name}/int8", f"{tensor.name}/scale"]
        kept.append(numpy_helper.from_array(values, parts[0]))
        kept.append(numpy_helper.from_array(scale, parts[1]))
        nodes.append(
            helper.make_node(
                "DequantizeLinear", parts, [tensor.name], name=f"{tensor.name}/widen", axis=1
            )
        )
    del model.graph.initializer[:]
    model.graph.initializer.extend(kept)
    nodes += model.graph.node
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    onnx.checker.check_model(model, full_check=True)
    stamp(model, details, layers)
    return model


def quantised(
    weight: npt.NDArray[np.floating],
) -> tuple[npt.NDArray[np.int8], npt.NDArray[np.float32]]:
    """Return ``[in, out]`` as int8 within -127 to 127, and a scale for each output ``[out]``."""
    largest = np.abs(weight).max(axis=0)
    scale = np.where(largest > 0, largest / 127, 1).astype(np.float32)
    return np.rint(weight / scale).clip(-127, 127).astype(np.int8), scale
