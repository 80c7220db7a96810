"""An ONNX model with 8-bit weights and activations; its routers stay as they are.

Static QDQ: weights int8 by output channel, inputs of products uint8 with ranges that calibration
images had. ONNX Runtime's quantiser writes the nodes; the ranges are taken here, for an expert may
get no token: all experts of a layer share the range of its tokens, and one that none visited gets
the widest range of its siblings.

A token whose router says something else goes to another expert, which no tolerance on numbers
forgives: routers, and what they read, are float32.
"""

from __future__ import annotations

import math
import re

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime
from onnxruntime.quantization import QuantType
from onnxruntime.quantization.calibrate import CalibrationMethod, TensorData, TensorsData
from onnxruntime.quantization.qdq_quantizer import QDQQuantizer

from moenas.export.metadata import Details, layers_of, stamp

OPERATORS = ("Conv", "Gemm", "MatMul")
"""Those with weights; products of two activations stay in float32."""

SMALLEST_CONV = 8000
"""Weights of the smallest convolution that becomes int8. Those with fewer, the first ones and the
depthwise ones, hold 1 % of mobilevitv2_050's bytes and cost most of its accuracy."""

Range = tuple[float, float]


def int8_model(
    content: bytes, details: Details, images: npt.NDArray[np.uint8], batch_size: int = 16
) -> onnx.ModelProto:
    """Return an int8 version of a routed ONNX model.

    Args:
        content: The model in float32, as `onnx_model` makes it.
        details: Its card.
        images: ``[n, height, width, 3]`` to take ranges from.
        batch_size: Images at once.
    """
    model = onnx.load_model_from_string(content)
    layers = layers_of(model)
    routers = {f"{layer}/logits" for layer in layers}
    weights = {tensor.name: math.prod(tensor.dims) for tensor in model.graph.initializer}
    nodes = [
        node
        for node in model.graph.node
        if node.op_type in OPERATORS
        and node.name not in routers
        and weights.get(node.input[1], 0) >= (SMALLEST_CONV if node.op_type == "Conv" else 1)
    ]
    inputs = sorted({node.input[0] for node in nodes})
    ranges = _shared(_ranges(model, inputs, images, batch_size), layers)
    # ONNX Runtime 1.20.0 corrects the range of each softmax, whether it is quantised or not.
    softmaxes = (node.output[0] for node in model.graph.node if node.op_type == "Softmax")
    ranges |= dict.fromkeys(softmaxes, (0.0, 1.0))
    quantiser = QDQQuantizer(
        model,
        per_channel=True,
        reduce_range=False,
        weight_qType=QuantType.QInt8,
        activation_qType=QuantType.QUInt8,
        tensors_range=TensorsData(
            CalibrationMethod.MinMax,
            {
                name: TensorData(lowest=np.float32(low), highest=np.float32(high))
                for name, (low, high) in ranges.items()
            },
        ),
        nodes_to_quantize=[node.name for node in nodes],
        nodes_to_exclude=[],
        op_types_to_quantize=list(OPERATORS),
        # What they give stays in float32: rounded as well, 4.0 % of tokens change their expert
        # instead of 2.4 % (mobilevitv2_050, 2.1M).
        extra_options={"OpTypesToExcludeOutputQuantization": list(OPERATORS)},
    )
    quantiser.quantize_model()
    quantiser.model.topological_sort()
    result: onnx.ModelProto = quantiser.model.model
    del result.graph.value_info[:]
    onnx.checker.check_model(result, full_check=True)
    stamp(result, details, layers)
    return result


def _ranges(
    model: onnx.ModelProto, tensors: list[str], images: npt.NDArray[np.uint8], batch_size: int
) -> dict[str, Range]:
    """Smallest and largest value of tensors; ``(inf, -inf)`` of one that was always empty."""
    watched = onnx.ModelProto()
    watched.CopyFrom(model)
    known = {value.name for value in watched.graph.output}
    watched.graph.output.extend(
        onnx.helper.make_empty_tensor_value_info(name) for name in tensors if name not in known
    )
    session = onnxruntime.InferenceSession(
        watched.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    found = dict.fromkeys(tensors, (float("inf"), float("-inf")))
    for start in range(0, len(images), batch_size):
        values = session.run(tensors, {"image": images[start : start + batch_size]})
        for name, value in zip(tensors, values, strict=True):
            if value.size:
                low, high = found[name]
                found[name] = min(low, float(value.min())), max(high, float(value.max()))
    return found


def _shared(ranges: dict[str, Range], layers: list[str]) -> dict[str, Range]:
    """Give each expert a range: its layer's for its tokens, its siblings' where it had none."""
    result = dict(ranges)
    for layer in layers:
        for part in (r"parts/\d+", r"\d+/act"):
            names = [name for name in ranges if re.fullmatch(f"{re.escape(layer)}/{part}", name)]
            widest = (min(ranges[n][0] for n in names), max(ranges[n][1] for n in names))
            for name in names:
                if part.startswith("parts") or ranges[name][0] > ranges[name][1]:
                    result[name] = widest
    return result
