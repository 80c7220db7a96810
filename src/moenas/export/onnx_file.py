"""A model as an ONNX file: routed, constants folded, its card inside.

Opset 18, all of it standard operators. The oldest and the newest ONNX Runtime that were tried,
1.16.3 and 1.32.0, load the same file and give the same logits.
"""

from __future__ import annotations

import onnx
import torch
from onnx import numpy_helper
from torch import nn

from moenas.errors import ConfigError
from moenas.export.deployed import Deployed
from moenas.export.metadata import Details, stamp
from moenas.export.onnx_session import OPERATORS
from moenas.export.quiet import quiet
from moenas.export.routed_graph import DOMAIN, expand

OPSET = 18
IR_VERSION = 9
"""Format of the file: ONNX Runtime 1.15 and later read it."""


def onnx_model(model: nn.Module, details: Details) -> onnx.ModelProto:
    """Return a model as ONNX, with input ``image`` and outputs ``logits`` and ``probabilities``.

    Args:
        model: A model of ours; it is not changed.
        details: Its card, stored in the file.

    Raises:
        ConfigError: This version of torch cannot export it; or it needs an operator that is not
            read back.
    """
    if not hasattr(torch.onnx, "ops"):
        raise ConfigError(f"Export to ONNX needs torch 2.8 or later; this is {torch.__version__}.")
    size = details.image_size
    module = Deployed(model, size, "onnx")
    image = torch.zeros(2, size, size, 3, dtype=torch.uint8)  # one image would fix the batch
    with torch.no_grad(), quiet():
        program = torch.onnx.export(
            module,
            (image,),
            dynamo=True,
            opset_version=OPSET,
            input_names=["image"],
            output_names=["logits", "probabilities"],
            dynamic_shapes=({0: torch.export.Dim("batch", min=1)},),
            verbose=False,
        )
    assert program is not None
    result = program.model_proto
    layers = expand(result)
    _tidy(result)
    _check_operators(result)
    onnx.checker.check_model(result, full_check=True)
    stamp(result, details, layers)
    return result


def _check_operators(model: onnx.ModelProto) -> None:
    """Refuse to write what `onnx_session` would refuse to read, and say whose fault it is."""
    if foreign := sorted({node.op_type for node in model.graph.node} - OPERATORS):
        raise ConfigError(
            f"This model needs the ONNX operator{'s' * (len(foreign) > 1)} {', '.join(foreign)}, "
            "which moenas does not let pass when it reads a file. It can be exported as 'pt2'."
        )


def _tidy(model: onnx.ModelProto) -> None:
    """Fold what is left to fold, and drop what no device needs: traces, shapes, unused parts."""
    graph = model.graph
    _constant_shapes(graph)
    for node in graph.node:
        node.doc_string = ""
        del node.metadata_props[:]
    for value in (*graph.input, *graph.output):
        del value.metadata_props[:]
    del graph.value_info[:], graph.metadata_props[:], model.functions[:], model.metadata_props[:]
    used = {name for node in graph.node for name in node.input}
    kept = [tensor for tensor in graph.initializer if tensor.name in used]
    for tensor in kept:
        tensor.doc_string = ""
        del tensor.metadata_props[:]
    del graph.initializer[:]
    graph.initializer.extend(kept)
    opsets = [each for each in model.opset_import if each.domain == ""]
    del model.opset_import[:]
    model.opset_import.extend(opsets)
    model.ir_version = IR_VERSION
    graph.name = "moenas"
    assert all(node.domain != DOMAIN for node in graph.node)


def _constant_shapes(graph: onnx.GraphProto) -> None:
    """Make a reshape's target a constant where at most one of its sizes depends on the batch."""
    shapes = {value.name: value.type.tensor_type.shape.dim for value in graph.value_info}
    constants = {tensor.name for tensor in graph.initializer}
    for node in graph.node:
        if node.op_type != "Reshape" or node.input[1] in constants:
            continue
        sizes = shapes.get(node.output[0])
        if sizes is None:
            continue
        target = [size.dim_value if size.HasField("dim_value") else -1 for size in sizes]
        if target.count(-1) <= 1:
            name = f"{node.output[0]}/shape"
            graph.initializer.append(numpy_helper.from_array(torch.tensor(target).numpy(), name))
            node.input[1] = name
    _drop_dead(graph)


def _drop_dead(graph: onnx.GraphProto) -> None:
    """Remove nodes whose outputs nobody reads."""
    while True:
        read = {name for node in graph.node for name in node.input}
        read |= {value.name for value in graph.output}
        alive = [node for node in graph.node if read & set(node.output)]
        if len(alive) == len(graph.node):
            return
        del graph.node[:]
        graph.node.extend(alive)
