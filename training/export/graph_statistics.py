"""What can be counted on an ONNX graph: operators, parameters, multiply-accumulates."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping

import onnx

MULTIPLYING = ("Conv", "Gemm", "MatMul")


def node_counts(model: onnx.ModelProto) -> dict[str, int]:
    """Return how many nodes of each operator the graph has."""
    return dict(sorted(Counter(node.op_type for node in model.graph.node).items()))


def parameter_count(model: onnx.ModelProto) -> int:
    """Return the number of float values that the layers hold, batch norm statistics included."""
    layers = (*MULTIPLYING, "BatchNormalization")
    used = {name for node in model.graph.node if node.op_type in layers for name in node.input[1:]}
    return sum(math.prod(t.dims) for t in model.graph.initializer if t.name in used)


def multiply_accumulates(model: onnx.ModelProto) -> int:
    """Return the multiply-accumulates of one image in convolutions and matrix products."""
    shapes = _shapes(onnx.shape_inference.infer_shapes(model, strict_mode=True))
    weights = {tensor.name: tuple(tensor.dims) for tensor in model.graph.initializer}
    return sum(
        _node_macs(node, shapes, weights)
        for node in model.graph.node
        if node.op_type in MULTIPLYING
    )


def _node_macs(
    node: onnx.NodeProto,
    shapes: Mapping[str, tuple[int, ...]],
    weights: Mapping[str, tuple[int, ...]],
) -> int:
    outputs = math.prod(shapes[node.output[0]][1:])  # without the batch
    weight = weights[node.input[1]]
    if node.op_type == "Conv":
        return outputs * math.prod(weight[1:])  # (out, in / groups, height, width)
    transposed = any(a.name == "transB" and a.i for a in node.attribute)
    return outputs * weight[1 if transposed else -2]


def _shapes(model: onnx.ModelProto) -> dict[str, tuple[int, ...]]:
    """Return every value's shape, with 0 for a free dimension."""
    values = [*model.graph.input, *model.graph.value_info, *model.graph.output]
    return {
        value.name: tuple(d.dim_value for d in value.type.tensor_type.shape.dim) for value in values
    }
