"""Switch FFNs as standard ONNX operators: sort the tokens by expert once, multiply slices.

For each layer the placeholder becomes::

    router Gemm -> ArgMax -> one row a expert (Equal) -> NonZero    tokens, sorted by expert
                                       `-> ReduceSum                tokens of each expert
    Gather tokens -> Split -> for each expert Gemm, SiLU, Gemm -> Concat -> ScatterND

No token is padded or dropped, and nothing is computed twice. Sorting once takes 13 operators a
layer and 4 an expert; a NonZero, a Gather and a scatter for each expert take 8 an expert and are
slower at every batch size. Experts' weights are written once, each in the layout that Gemm takes
without a transpose.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

from moenas.export.experts import PLACEHOLDER

DOMAIN, OPERATOR = PLACEHOLDER.split("::")


@dataclasses.dataclass
class _Builder:
    """Nodes and constants of one layer, named after it."""

    prefix: str
    nodes: list[onnx.NodeProto] = dataclasses.field(default_factory=list)
    constants: list[onnx.TensorProto] = dataclasses.field(default_factory=list)

    def constant(self, name: str, value: npt.NDArray[Any]) -> str:
        full = f"{self.prefix}/{name}"
        self.constants.append(numpy_helper.from_array(np.array(value, order="C"), full))
        return full

    def add(
        self, operator: str, inputs: Sequence[str], name: str, outputs: int = 1, **attributes: Any
    ) -> list[str]:
        full = f"{self.prefix}/{name}"
        outs = [full] if outputs == 1 else [f"{full}/{index}" for index in range(outputs)]
        self.nodes.append(helper.make_node(operator, inputs, outs, name=full, **attributes))
        return outs


def expand(model: onnx.ModelProto) -> list[str]:
    """Replace every placeholder in place; the stacked weights stay, read by nobody.

    Returns:
        The layers' names; ``NAME/expert`` is the tensor ``[1, T]`` of each token's expert.
    """
    graph = model.graph
    weights = {tensor.name: tensor for tensor in graph.initializer}
    nodes: list[onnx.NodeProto] = []
    constants: list[onnx.TensorProto] = []
    layers = []
    for node in graph.node:
        if node.domain != DOMAIN:
            nodes.append(node)
            continue
        attributes = {a.name: helper.get_attribute_value(a) for a in node.attribute}
        layers.append(attributes["layer"].decode())
        builder = _Builder(layers[-1])
        arrays = [numpy_helper.to_array(weights[name]) for name in node.input[1:]]
        _layer(
            builder,
            node.input[0],
            node.output[0],
            arrays,
            attributes["activation"].decode(),
            bool(attributes["probability"]),
        )
        nodes += builder.nodes
        constants += builder.constants
    del graph.node[:]
    graph.node.extend(nodes)
    graph.initializer.extend(constants)
    return layers


def _layer(
    b: _Builder,
    x: str,
    y: str,
    arrays: Sequence[npt.NDArray[Any]],
    activation: str,
    probability: bool,
) -> None:
    router, router_bias, w1, b1, w2, b2 = arrays
    experts = len(router)
    one = b.constant("one", np.array([1]))
    weight, bias = b.constant("router", router), b.constant("router_bias", router_bias[:, None])
    # The router's product is made transposed, [E, T]: its rows are the experts.
    (logits,) = b.add("Gemm", [weight, x, bias], "logits", transB=1)
    (chosen,) = b.add("ArgMax", [logits], "expert", axis=0, keepdims=1)
    numbers = b.constant("experts", np.arange(experts, dtype=np.int64)[:, None])
    (mine,) = b.add("Equal", [chosen, numbers], "mine")
    (ones,) = b.add("Cast", [mine], "ones", to=TensorProto.INT64)
    (counts,) = b.add("ReduceSum", [ones, one], "counts", keepdims=0)
    (places,) = b.add("NonZero", [mine], "places")
    second = b.constant("second", np.array(1))
    (order,) = b.add("Gather", [places, second], "order", axis=0)
    (tokens,) = b.add("Gather", [x, order], "tokens", axis=0)
    parts = b.add("Split", [tokens, counts], "parts", outputs=experts, axis=0)
    outputs = []
    for index, part in enumerate(parts):
        first = _gemm(b, part, w1[index], b1[index], f"{index}/fc1")
        hidden = _activate(b, first, activation, f"{index}/act")
        outputs.append(_gemm(b, hidden, w2[index], b2[index], f"{index}/fc2"))
    (result,) = b.add("Concat", outputs, "outputs", axis=0)
    if probability:
        (chances,) = b.add("Softmax", [logits], "chances", axis=0)
        (factor,) = b.add("ReduceMax", [chances, b.constant("first", np.array([0]))], "factor")
        (row,) = b.add("Gather", [factor, order], "factors", axis=1)
        (column,) = b.add("Transpose", [row], "column", perm=[1, 0])
        (result,) = b.add("Mul", [result, column], "scaled")
    (rows,) = b.add("Reshape", [order, b.constant("column_shape", np.array([-1, 1]))], "rows")
    b.nodes.append(helper.make_node("ScatterND", [x, rows, result], [y], name=f"{b.prefix}/back"))


def _gemm(b: _Builder, x: str, weight: npt.NDArray[Any], bias: npt.NDArray[Any], name: str) -> str:
    w = b.constant(f"{name}/weight", weight.T)  # [in, out]: int8 scales then belong to columns
    return b.add("Gemm", [x, w, b.constant(f"{name}/bias", bias)], name)[0]


def _activate(b: _Builder, x: str, activation: str, name: str) -> str:
    if activation == "silu":  # ONNX Runtime makes one operator of these two
        (sigmoid,) = b.add("Sigmoid", [x], f"{name}/sigmoid")
        return b.add("Mul", [x, sigmoid], name)[0]
    root = b.constant(f"{name}/root", np.array(np.sqrt(2), np.float32))
    half = b.constant(f"{name}/half", np.array(0.5, np.float32))
    unit = b.constant(f"{name}/unit", np.array(1, np.float32))
    (scaled,) = b.add("Div", [x, root], f"{name}/scaled")
    (erf,) = b.add("Erf", [scaled], f"{name}/erf")
    (plus,) = b.add("Add", [erf, unit], f"{name}/plus")
    (product,) = b.add("Mul", [x, plus], f"{name}/product")
    return b.add("Mul", [product, half], name)[0]
