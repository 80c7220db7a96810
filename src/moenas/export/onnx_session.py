"""ONNX files of ours, read with distrust and run with ONNX Runtime.

A file is parsed and looked through before anything runs: only plain operators that compute numbers,
no control flow, no data in other files, no operator libraries, sizes that fit the file's own.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from moenas.errors import CheckpointError
from moenas.export.exported import MAX_BYTES, Experts, ExportedModel, first_line, read_file
from moenas.export.formats import FORMATS
from moenas.export.metadata import read_stamp

if TYPE_CHECKING:
    import onnx

OPERATORS = {
    "Add", "AveragePool", "ArgMax", "BatchNormalization", "Cast", "Clip", "Concat", "Conv", "Cos",
    "DequantizeLinear", "Div", "Equal", "Erf", "Expand", "Flatten", "Gather", "GatherND", "Gelu",
    "Gemm", "GlobalAveragePool", "HardSigmoid", "HardSwish", "Identity", "InstanceNormalization",
    "LayerNormalization", "MatMul", "MaxPool", "Mul", "Neg", "NonZero", "Pad", "Pow",
    "QuantizeLinear", "Reciprocal", "ReduceL2", "ReduceMax", "ReduceMean", "ReduceSum", "Relu",
    "Reshape", "Resize", "ScatterND", "Shape", "Sigmoid", "Sin", "Slice", "Softmax", "Split",
    "Sqrt", "Squeeze", "Sub", "Tanh", "Transpose", "Unsqueeze", "Where",
}  # fmt: skip
"""Standard operators that our files may have."""


class OnnxModel(ExportedModel):
    """An exported model, ready to run on the CPU.

    Args:
        path: An ONNX file that moenas exported.
        threads: Threads of one run.
        watch: Also return each token's expert: for tests of what an export changed.

    Raises:
        CheckpointError: The file is missing, truncated, changed, unsafe, or not one of ours.
        MissingDependencyError: The extra ``export`` is not installed.
    """

    def __init__(self, path: Path | str, *, threads: int = 1, watch: bool = False) -> None:
        FORMATS["onnx"].require()
        import onnxruntime

        self.path = Path(path)
        model = read_onnx(self.path)
        self.details, layers = read_stamp(model, self.path)
        self.layers = layers if watch else []
        if watch:
            import onnx

            made = {name for node in model.graph.node for name in node.output}
            for layer in layers:
                if f"{layer}/expert" not in made:
                    raise CheckpointError(f"'{path}' has no layer '{layer}'.")
                value = onnx.helper.make_empty_tensor_value_info(f"{layer}/expert")
                model.graph.output.append(value)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 4  # what fails is raised
        try:
            self.session = onnxruntime.InferenceSession(
                model.SerializeToString(), options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # its errors have no common base
            raise CheckpointError(f"'{path}' cannot be loaded: {first_line(error)}") from error

    def run(self, images: npt.NDArray[np.uint8]) -> tuple[npt.NDArray[np.float32], Experts]:
        """Return logits ``[B, K]`` and, where it watches, each layer's experts ``[B, tokens]``.

        Args:
            images: uint8 ``[B, image_size, image_size, 3]``, RGB.

        Raises:
            DataError: They have another shape or type.
            CheckpointError: The file cannot run, or its outputs are not those of our files.
        """
        self.check(images)
        names = ["logits", *(f"{layer}/expert" for layer in self.layers)]
        try:
            logits, *chosen = self.session.run(names, {"image": images})
        except Exception as error:
            raise CheckpointError(f"'{self.path}' cannot run: {first_line(error)}") from error
        experts = {
            layer: np.asarray(values).reshape(len(images), -1)
            for layer, values in zip(self.layers, chosen, strict=True)
        }
        return self.logits(logits, len(images)), experts


def read_onnx(path: Path) -> onnx.ModelProto:
    """Parse an ONNX file and refuse what ours never hold; nothing runs.

    Raises:
        CheckpointError: It is missing, damaged, too large, or holds something else.
    """
    import onnx

    data = read_file(path)
    try:
        model = onnx.load_model_from_string(data)
    except Exception as error:  # protobuf's errors have no common base
        raise CheckpointError(f"'{path}' is damaged, or no ONNX file.") from error
    problem = _problem(model)
    if problem:
        raise CheckpointError(f"'{path}' was not loaded: {problem}.")
    return model


def _problem(model: onnx.ModelProto) -> str:
    """What in a model cannot be trusted; empty when nothing is."""
    import onnx

    graph = model.graph
    if not graph.node:
        return "it has no operators"
    if model.functions or model.training_info or graph.sparse_initializer:
        return "it has functions, a training graph or sparse weights of its own"
    for node in graph.node:
        if node.domain not in ("", "ai.onnx") or node.op_type not in OPERATORS:
            return f"it has an operator '{node.domain}:{node.op_type}', which ours never have"
        if any(a.g.node or a.graphs or a.HasField("sparse_tensor") for a in node.attribute):
            return f"its operator '{node.op_type}' has a graph of its own"
    for tensor in _tensors(graph):
        if tensor.data_location == onnx.TensorProto.EXTERNAL or tensor.external_data:
            return f"its weight '{tensor.name}' lies in another file"
        if any(size < 0 for size in tensor.dims) or _count(tensor.dims) > MAX_BYTES:
            return f"its weight '{tensor.name}' has a size that cannot be"
    return ""


def _tensors(graph: onnx.GraphProto) -> Iterable[onnx.TensorProto]:
    yield from graph.initializer
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.HasField("t"):
                yield attribute.t
            yield from attribute.tensors


def _count(dims: Iterable[int]) -> int:
    result = 1
    for size in dims:
        result *= size
    return result
