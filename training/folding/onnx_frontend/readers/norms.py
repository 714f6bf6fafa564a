"""Batch norms: what they apply in inference mode, or why they stay."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from training.folding.algebra.affine import BatchNormStats, FoldRefused, channel_map
from training.folding.engine.graph import (
    Affine,
    KeptNorm,
    Norm,
    Operation,
)
from training.folding.onnx_frontend.readers.context import (
    Context,
    attribute,
    is_used,
    rank_of,
    size_of,
)

EPSILON = float(np.float32(1e-5))  # of a batch norm that states none: attributes are float32


def batch_norm(node: ir.Node, indices: list[int], context: Context) -> Operation:
    """Y = gamma (x - mean) / sqrt(var + eps) + beta, if it is in inference mode."""
    name = node.name or node.outputs[0].name or "BatchNormalization"
    sizes = [size_of(value, 0) for value in node.inputs[1:]]
    norm = Norm(name, next((size for size in sizes if size is not None), 0))
    training = attribute(node, "training_mode", 0) or any(is_used(o) for o in node.outputs[1:])
    if training:
        return KeptNorm(
            norm,
            "it is in train mode (training_mode=1): it takes statistics of its own batch; export "
            "the network in inference mode",
        )
    if attribute(node, "spatial", 1) == 0:
        return KeptNorm(norm, _of_positions(node))
    if indices != [0]:
        return KeptNorm(norm, _not_constant(node))
    if (rank_of(node.inputs[0]) or 2) < 2:
        return KeptNorm(norm, "its input has no axis of channels")
    try:
        vectors = [context.constant(node, index) for index in range(1, 5)]
        gamma, beta, mean, var = (np.asarray(v, np.float64).reshape(-1) for v in vectors)
        stats = BatchNormStats(gamma, beta, mean, var, float(attribute(node, "epsilon", EPSILON)))
        return Affine(1, channel_map(stats), (norm,))
    except FoldRefused as refusal:
        return KeptNorm(norm, str(refusal))


def _of_positions(node: ir.Node) -> str:
    """Return why a batch norm with spatial=0 stays."""
    reason = "it has a scale for each position (spatial=0)"
    if any(rank_of(value) == 1 for value in node.inputs[1:]):
        reason += (
            ", and its parameters, of shape (C), are those of spatial=1: onnxruntime does not run "
            "it; set spatial to 1"
        )
    return reason


def _not_constant(node: ir.Node) -> str:
    """Return why the parameters of a batch norm are no constants, and the remedy."""
    for value in node.inputs[1:]:
        if value is not None and value.is_initializer() and value.is_graph_input():
            return (
                f"its parameters are no constants: {value.name} is an input as well, which callers "
                "may override; take it from the inputs of the graph"
            )
    return "its parameters are no constants of the graph; export the network with its weights"
