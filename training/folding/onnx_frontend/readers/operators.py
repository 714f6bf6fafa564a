"""What each ONNX operator is to folding; None where it is opaque.

Specification: https://onnx.ai/onnx/operators, opsets 7 to 23 and the older forms of batch norm.
"""

from __future__ import annotations

from collections.abc import Callable

import onnx_ir as ir

from training.folding.engine.graph import (
    Concat,
    Operation,
    Same,
)
from training.folding.onnx_frontend.readers.arithmetic import arithmetic, negation, sum_
from training.folding.onnx_frontend.readers.context import (
    Context,
    attribute,
    is_used,
    rank_of,
)
from training.folding.onnx_frontend.readers.layers import convolution, gemm, matmul
from training.folding.onnx_frontend.readers.layout import LAYOUTS
from training.folding.onnx_frontend.readers.norms import batch_norm
from training.folding.onnx_frontend.readers.spatial import (
    average_pool,
    global_average_pool,
    global_max_pool,
    max_pool,
    pad,
    reduction,
    resize,
)


def identity(node: ir.Node, indices: list[int], context: Context) -> Operation:
    """Its input."""
    return Same()


def dropout(node: ir.Node, indices: list[int], context: Context) -> Operation | None:
    """Nothing, in inference mode."""
    mode = context.constant(node, 2)
    trains = len(node.inputs) > 2 and node.inputs[2] is not None and (mode is None or mode.any())
    masks = any(is_used(output) for output in node.outputs[1:])
    return None if trains or masks or indices != [0] else Same()


def cast(node: ir.Node, indices: list[int], context: Context) -> Operation | None:
    """Nothing, to the type that it has."""
    source = node.inputs[0]
    same = source is not None and source.dtype is not None and source.dtype == node.outputs[0].dtype
    return Same() if same else None


def concat(node: ir.Node, indices: list[int], context: Context) -> Operation | None:
    """Side by side on one axis."""
    rank = rank_of(node.inputs[0])
    axis = int(attribute(node, "axis", 0))
    if rank is None or len(indices) != len(node.inputs):
        return None
    return Concat(axis % rank)


READERS: dict[str, Callable[[ir.Node, list[int], Context], Operation | None]] = {
    "BatchNormalization": batch_norm,
    "Add": arithmetic,
    "Sub": arithmetic,
    "Mul": arithmetic,
    "Div": arithmetic,
    "Neg": negation,
    "Sum": sum_,
    "Conv": convolution,
    "ConvTranspose": convolution,
    "Gemm": gemm,
    "MatMul": matmul,
    "MaxPool": max_pool,
    "AveragePool": average_pool,
    "GlobalMaxPool": global_max_pool,
    "GlobalAveragePool": global_average_pool,
    "ReduceMean": reduction,
    "ReduceSum": reduction,
    "ReduceMax": reduction,
    "Resize": resize,
    "Upsample": resize,
    "Identity": identity,
    "Dropout": dropout,
    "Cast": cast,
    "Pad": pad,
    "Concat": concat,
} | LAYOUTS
