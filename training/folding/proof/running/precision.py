"""The same model with every floating-point number in another type."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

FLOATS = (ir.DataType.FLOAT, ir.DataType.FLOAT16, ir.DataType.BFLOAT16)


def in_float64(model: ir.Model) -> ir.Model:
    """Return a copy that computes in float64; weights are exact, they were narrower."""
    return in_precision(model, ir.DataType.DOUBLE)


def in_precision(model: ir.Model, kind: ir.DataType) -> ir.Model:
    """Return a copy whose float, float16 and bfloat16 weights, inputs and casts are of `kind`."""
    copy = model.clone()
    bodies = [function.graph for function in copy.functions.values()]
    inner = [graph for body in bodies for graph in (body, *body.subgraphs())]
    for graph in [*copy.graphs(), *inner]:
        for value in graph.initializers.values():
            tensor = value.const_value
            if tensor is not None and tensor.dtype in FLOATS:
                value.const_value = _converted(tensor, kind)
        for value in [*graph.inputs, *graph.initializers.values()]:
            _retype(value, kind)
        for node in graph:
            for output in node.outputs:
                _retype(output, kind)
            _convert_attributes(node, kind)
    return copy


def lowest_precision(model: ir.Model) -> np.dtype:
    """Return the coarsest floating-point type among the weights; float32 if there are none."""
    tensors = [v.const_value for graph in model.graphs() for v in graph.initializers.values()]
    kinds = {tensor.dtype for tensor in tensors if tensor is not None}
    for kind in (ir.DataType.BFLOAT16, ir.DataType.FLOAT16):
        if kind in kinds:
            return kind.numpy()
    return np.dtype(np.float32)


def _converted(tensor: ir.TensorProtocol, kind: ir.DataType) -> ir.TensorProtocol:
    return ir.tensor(tensor.numpy().astype(kind.numpy()), name=tensor.name)


def _retype(value: ir.Value, kind: ir.DataType) -> None:
    if value.dtype in FLOATS:
        value.type = ir.TensorType(kind)


def _convert_attributes(node: ir.Node, kind: ir.DataType) -> None:
    """Change what a node casts to, and the constants that it holds."""
    for name, attribute in list(node.attributes.items()):
        if attribute.type == ir.AttributeType.TENSOR and attribute.as_tensor().dtype in FLOATS:
            node.attributes[name] = ir.AttrTensor(name, _converted(attribute.as_tensor(), kind))
        elif node.op_type == "Constant" and name in ("value_float", "value_floats"):
            del node.attributes[name]  # of one type only
            array = np.asarray(attribute.value, kind.numpy())
            node.attributes["value"] = ir.AttrTensor("value", ir.tensor(array))
    target = node.attributes.get("to" if node.op_type == "Cast" else "dtype")
    if target is not None and ir.DataType(target.as_int()) in FLOATS:
        node.attributes[target.name] = ir.AttrInt64(target.name, kind.value)
