"""What can be counted on an ONNX graph: operators, parameters, multiply-accumulates."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np
import onnx

from training.errors import GraphError
from training.evaluation.onnx_runner import first_line, open_session

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
    """Return the multiply-accumulates of one image in convolutions and matrix products.

    The sizes are those that come out when the graph runs: what exporters write down of them is
    often less than all.

    Raises:
        GraphError: onnxruntime cannot run it.
    """
    multiplying = [node for node in model.graph.node if node.op_type in MULTIPLYING]
    shapes = {tensor.name: tuple(tensor.dims) for tensor in model.graph.initializer}
    names = {name for node in multiplying for name in (node.output[0], node.input[1])}
    shapes |= _shapes_of_one_image(model, sorted(names - set(shapes)))
    return sum(_node_macs(node, shapes) for node in multiplying)


def _node_macs(node: onnx.NodeProto, shapes: Mapping[str, tuple[int, ...]]) -> int:
    outputs, weight = math.prod(shapes[node.output[0]]), shapes[node.input[1]]
    if node.op_type == "Conv":
        return outputs * math.prod(weight[1:])  # (out, in / groups, height, width)
    transposed = any(a.name == "transB" and a.i for a in node.attribute)
    return outputs * weight[-1 if transposed else -2]


def _shapes_of_one_image(
    model: onnx.ModelProto, names: Sequence[str]
) -> dict[str, tuple[int, ...]]:
    exposed = onnx.ModelProto()
    exposed.CopyFrom(model)
    del exposed.graph.output[:]
    exposed.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names)
    session = open_session(exposed.SerializeToString(), "disable_all")
    (image,) = session.get_inputs()
    try:
        tensors = session.run(names, {image.name: np.zeros((1, *image.shape[1:]), np.uint8)})
    except Exception as error:  # onnxruntime's exceptions share no other base
        raise GraphError(f"onnxruntime cannot run the graph: {first_line(error)}") from error
    return {name: np.shape(tensor) for name, tensor in zip(names, tensors, strict=True)}
