"""What the sizes and types of a model's tensors are, as far as they follow from its inputs.

onnx_ir has a pass for that, which takes every sequence for a tensor: a graph written with such
types is invalid.
"""

from __future__ import annotations

import onnx
import onnx_ir as ir

LARGE_BYTES = 1024  # smaller constants may be sizes, which say what others are


def infer_shapes(model: ir.Model) -> None:
    """Note sizes and types at the tensors of a model, weights not copied.

    Where ONNX's inference stops, at what a loop carries on, it goes on from what layers return.
    """
    _infer(model)
    while _note_more(model):
        _infer(model)


def _note_more(model: ir.Model) -> bool:
    """Note the shapes that ONNX's inference does not; return whether there is any."""
    found = [_note_outputs(node) for graph in model.graphs() for node in graph]
    return any(found)


def _note_outputs(node: ir.Node) -> bool:
    unknown = [output for output in node.outputs if output.shape is None]
    if not unknown:
        return False
    if node.op_type in ("Conv", "ConvTranspose"):
        unknown[0].shape = _of_layer(node)
    elif node.op_type == "Loop":
        for output in unknown:
            output.shape = _of_loop(node, output.index() or 0)
    return any(output.shape is not None for output in unknown)


def _of_layer(node: ir.Node) -> ir.Shape | None:
    """Return the number of axes and of channels that a convolution's weights say."""
    weight = node.inputs[1]
    if weight is None or weight.shape is None or len(weight.shape) < 3:
        return None
    sizes = [size if isinstance(size, int) else None for size in weight.shape]
    groups = node.attributes.get_int("group", 1)
    channels = sizes[0] if node.op_type == "Conv" else sizes[1] and sizes[1] * groups
    return ir.Shape([None, channels, *(None,) * (len(sizes) - 2)])


def _of_loop(node: ir.Node, place: int) -> ir.Shape | None:
    """Return the sizes that a carried tensor has before, and after each round."""
    if place + 2 >= len(node.inputs) or "body" not in node.attributes:
        return None  # it is stacked
    before, after = node.inputs[place + 2], node.attributes["body"].as_graph().outputs[place + 1]
    if before is None or before.shape is None or after.shape is None:
        return None
    if len(before.shape) != len(after.shape):
        return None
    pairs = zip(before.shape, after.shape, strict=True)
    return ir.Shape([one if isinstance(one, int) and one == two else None for one, two in pairs])


def _infer(model: ir.Model) -> None:
    every = dict(model.graph.initializers)
    large = {name: value for name, value in every.items() if _is_large(value)}
    model.graph.initializers.clear()
    model.graph.initializers.update({n: v for n, v in every.items() if n not in large})
    try:
        skeleton = ir.to_proto(model)
    finally:
        model.graph.initializers.clear()
        model.graph.initializers.update(every)
    known = {value.name for value in skeleton.graph.input}
    skeleton.graph.input.extend(
        ir.serde.serialize_value(value) for name, value in large.items() if name not in known
    )
    try:
        inferred = ir.from_proto(onnx.shape_inference.infer_shapes(skeleton, data_prop=True))
    except onnx.shape_inference.InferenceError:
        return  # sizes that contradict each other: those that are stated have to do
    for graph, known_graph in zip(model.graphs(), inferred.graphs(), strict=True):
        found = ir.convenience.create_value_mapping(known_graph)
        for name, value in ir.convenience.create_value_mapping(graph).items():
            if name in found:
                _note(value, found[name])


def _is_large(value: ir.Value) -> bool:
    return value.const_value is not None and value.const_value.nbytes > LARGE_BYTES


def _note(value: ir.Value, found: ir.Value) -> None:
    if value.const_value is None and found.type is not None:
        value.type = found.type
    if isinstance(value.type, ir.TensorType) and found.shape is not None:
        value.shape = found.shape
