"""What the sizes and types of a model's tensors are, as far as they follow from its inputs.

onnx_ir has a pass for that, which takes every sequence for a tensor: a graph written with such
types is invalid.
"""

from __future__ import annotations

import onnx
import onnx_ir as ir

LARGE_BYTES = 1024  # smaller constants may be sizes, which say what others are


def infer_shapes(model: ir.Model) -> None:
    """Note sizes and types at the tensors of a model, weights not copied."""
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
