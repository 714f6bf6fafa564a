"""Batch norms of weights, as weight standardization is exported: computed once, here.

What reads nothing but constants is a constant, with the statistics of the weights themselves in
train mode as well. The rules never see such a batch norm, so it gets its row here.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from training.folding.algebra.affine import BatchNormStats, ChannelMap, FoldRefused, channel_map
from training.folding.algebra.rounding import rounded
from training.folding.engine.graph import Norm
from training.folding.engine.report_row import Row
from training.folding.onnx_frontend.constants import NEUTRAL_DOMAINS, Constants
from training.folding.onnx_frontend.readers.norms import EPSILON

PATTERN = "bn of constants"


def compute_norms(graph: ir.Graph, constants: Constants) -> list[Row]:
    """Put a constant in the place of each batch norm of constants; return a row for each."""
    return [
        _computed(node, graph, constants)
        for node in tuple(graph)
        if node.op_type == "BatchNormalization"
        and node.domain in NEUTRAL_DOMAINS
        and all(constants.holds(value) for value in node.inputs if value is not None)
    ]


def _computed(node: ir.Node, graph: ir.Graph, constants: Constants) -> Row:
    output = node.outputs[0]
    norm = Norm(node.name or str(output.name), 0)
    readers = tuple(dict.fromkeys(use.node.name or str(use.node.op_type) for use in output.uses()))
    try:
        arrays = [constants.array(value) for value in node.inputs if value is not None]
        norm = Norm(norm.name, arrays[1].size)
        map_ = _map(node, *arrays)
        along = (-1, *(1,) * (arrays[0].ndim - 2))
        _replace(node, graph, arrays[0] * map_.scale.reshape(along) + map_.shift.reshape(along))
    except FoldRefused as refusal:
        return Row(norm, reason=f"it normalizes constants, and {refusal}")
    return Row(norm, into=readers, pattern=PATTERN, largest_scale=map_.largest_scale)


def _map(node: ir.Node, x: NDArray[Any], *vectors: NDArray[Any]) -> ChannelMap:
    """Return what a batch norm does to constants (N, C, *S)."""
    if any(value.uses() or value.is_graph_output() for value in node.outputs[1:]):
        raise FoldRefused("others read its statistics")
    if node.attributes.get_int("spatial", 1) == 0:
        raise FoldRefused("it has a scale for each position (spatial=0)")
    gamma, beta, mean, var = (np.asarray(vector, np.float64).reshape(-1) for vector in vectors)
    if x.ndim < 2 or gamma.size != x.shape[1]:
        raise FoldRefused(f"it has {gamma.size} channels, and they have another number")
    if node.attributes.get_int("training_mode", 0):
        others = (0, *range(2, x.ndim))
        mean, var = x.mean(axis=others), x.var(axis=others)
    eps = node.attributes.get_float("epsilon", EPSILON)
    return channel_map(BatchNormStats(gamma, beta, mean, var, eps))


def _replace(node: ir.Node, graph: ir.Graph, array: NDArray[np.float64]) -> None:
    output = node.outputs[0]
    source = node.inputs[0]
    if output.is_graph_output():
        raise FoldRefused("the network returns it")
    if source is None or source.dtype is None:
        raise FoldRefused("their type is not known")
    constant = ir.Value(name=output.name, type=ir.TensorType(source.dtype))
    constant.const_value = ir.tensor(rounded(array, source.dtype.numpy()), name=output.name)
    constant.shape = ir.Shape(array.shape)
    for use in tuple(output.uses()):
        use.node.replace_input_with(use.idx, constant)
    graph.remove(node, safe=True)
    graph.register_initializer(constant)
