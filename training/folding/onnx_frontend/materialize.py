"""Constants that a graph computes, computed once: runtimes fuse what has them as initializers.

torch's default exporter expands biases and casts the bounds of a Clip in the graph; onnxruntime
then fuses neither. Quantized weights stay as they are: runtimes look for them.
"""

from __future__ import annotations

from typing import Any

import onnx_ir as ir
from numpy.typing import NDArray

from training.folding.algebra.affine import FoldRefused
from training.folding.algebra.rounding import rounded
from training.folding.onnx_frontend.constants import Constants, is_quantized

MAX_BYTES = 1 << 20  # of what is larger than all it is computed from, as a mask is
RESIZES = ("Resize", "Upsample")  # their amounts may be floating-point numbers


def materialize_amounts(graph: ir.Graph, constants: Constants) -> bool:
    """Do that for amounts alone, on which the sizes of all that follows depend.

    The shapes of other constants are noted where they are not known; returns whether there is any
    of both.
    """
    before = len(graph.initializers)
    noted = False
    for value in [value for node in graph for value in node.outputs]:
        if _is_amount(value, constants):
            _replace(value, graph, constants)
        elif value.shape is None and constants.holds(value):
            noted |= _note_shape(value, constants)
    return noted or len(graph.initializers) > before


def _note_shape(value: ir.Value, constants: Constants) -> bool:
    try:
        value.shape = ir.Shape(constants.array(value).shape)
    except FoldRefused:
        return False
    return True


def materialize(graph: ir.Graph, constants: Constants) -> None:
    """Put an initializer in the place of each tensor that is computed from nothing but constants.

    Only where something else reads it; what only served it is not used any more then.
    """
    for node in tuple(graph):
        for value in node.outputs:
            if _is_read(value, constants) and constants.holds(value) and not is_quantized(value):
                _replace(value, graph, constants)


def _is_amount(value: ir.Value, constants: Constants) -> bool:
    kinds = (ir.DataType.INT64, ir.DataType.INT32)
    resizes = any(use.node.op_type in RESIZES for use in value.uses())
    return (
        (value.dtype in kinds or resizes) and _is_read(value, constants) and constants.holds(value)
    )


def _is_read(value: ir.Value, constants: Constants) -> bool:
    return any(
        not all(constants.holds(output) for output in use.node.outputs) for use in value.uses()
    )


def _replace(value: ir.Value, graph: ir.Graph, constants: Constants) -> None:
    if value.dtype is None or value.is_graph_output():
        return
    try:
        array = _typed(constants.array(value), value.dtype)
    except FoldRefused:
        return  # it stays computed
    if array.nbytes > max(MAX_BYTES, _bytes_before(value)):
        return
    constant = ir.Value(name=value.name, type=value.type, shape=ir.Shape(array.shape))
    constant.const_value = ir.tensor(array, name=value.name)
    value.name = None
    for use in tuple(value.uses()):
        use.node.replace_input_with(use.idx, constant)
    graph.register_initializer(constant)


def _typed(array: NDArray[Any], kind: ir.DataType) -> NDArray[Any]:
    return rounded(array, kind.numpy()) if kind.is_floating_point() else array.astype(kind.numpy())


def _bytes_before(value: ir.Value) -> int:
    """Return the bytes of the largest constant that one is computed from."""
    node = value.producer()
    tensors = [] if node is None else [one.const_value for one in node.inputs if one is not None]
    return max((tensor.nbytes for tensor in tensors if tensor is not None), default=0)
