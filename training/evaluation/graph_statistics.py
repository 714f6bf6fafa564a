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
    shapes = _shapes(model)
    return sum(
        math.prod(shapes[node.output[0]]) * _products(node, shapes)
        for node in model.graph.node
        if node.op_type in MULTIPLYING
    )


def summed_products(model: onnx.ModelProto) -> int:
    """Return the products that one number sums over, added up along the longest way to an output.

    That of a convolution is in / groups * height * width, that of a matrix product its inner size.

    Raises:
        GraphError: onnxruntime cannot run it.
    """
    shapes = _shapes(model)
    longest: Counter[str] = Counter()  # of each tensor
    for node in model.graph.node:  # in topological order, as ONNX demands
        before = max((longest[name] for name in node.input), default=0)
        own = _products(node, shapes) if node.op_type in MULTIPLYING else 0
        longest.update(dict.fromkeys(filter(None, node.output), before + own))
    return max(longest[output.name] for output in model.graph.output)


def _products(node: onnx.NodeProto, shapes: Mapping[str, tuple[int, ...]]) -> int:
    """Return how many products one number of a layer's output sums over."""
    weight = shapes[node.input[1]]
    if node.op_type == "Conv":
        return math.prod(weight[1:])  # (out, in / groups, height, width)
    transposed = any(a.name == "transB" and a.i for a in node.attribute)
    return weight[-1 if transposed or len(weight) == 1 else -2]


def _shapes(model: onnx.ModelProto) -> dict[str, tuple[int, ...]]:
    """Return the shapes of what layers multiply with and of what they give for one image."""
    multiplying = [node for node in model.graph.node if node.op_type in MULTIPLYING]
    shapes = {tensor.name: tuple(tensor.dims) for tensor in model.graph.initializer}
    names = {name for node in multiplying for name in (node.output[0], node.input[1])}
    return shapes | _shapes_of_one_image(model, sorted(names - set(shapes)))


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
