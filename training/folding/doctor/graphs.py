"""The batch norms of an ONNX model, and what becomes of each when the model is folded."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from training.folding.algebra.affine import FoldRefused
from training.folding.doctor.record import NormRecord
from training.folding.engine.report_row import Row
from training.folding.onnx_frontend import fold_model
from training.folding.onnx_frontend.constants import Constants
from training.folding.onnx_frontend.folded_model import prepared

POOL_REFUSAL = "takes a maximum"  # how the rule of max pooling says no


def norms_of_model(model: ir.Model) -> list[NormRecord]:
    """Return every batch norm, bodies of control flow and functions included."""
    copy = prepared(model)
    folded = fold_model(model)
    rows = {row.norm.name: row for row in folded.norms}
    weights = dict(_largest_weights(folded.model))
    opset = copy.opset_imports.get("", 1)
    return [
        _with_fold(_record(node, opset), rows, weights)
        for graph in [*copy.graph.subgraphs(), copy.graph]
        for node in graph
        if node.op_type == "BatchNormalization"
    ]


def _record(node: ir.Node, opset: int) -> NormRecord:
    constants = Constants(opset)
    gamma, beta, mean, var = (_vector(node, index, constants) for index in range(1, 5))
    eps, mode = (node.attributes.get(name) for name in ("epsilon", "training_mode"))
    used = any(output.uses() or output.is_graph_output() for output in node.outputs[1:])
    return NormRecord(
        name=name_of(node),
        gamma=gamma,
        beta=beta,
        mean=mean,
        var=var,
        eps=1e-5 if eps is None else eps.as_float(),
        trains=used or (mode is not None and bool(mode.as_int())),
    )


def _vector(node: ir.Node, index: int, constants: Constants) -> NDArray[np.float64] | None:
    value = node.inputs[index] if index < len(node.inputs) else None
    if value is None or not constants.holds(value):
        return None
    try:
        return np.asarray(constants.array(value), np.float64).reshape(-1)
    except FoldRefused:
        return None  # the fold says why


def _with_fold(norm: NormRecord, rows: dict[str, Row], weights: dict[str, float]) -> NormRecord:
    row = rows.get(norm.name)
    if row is None:
        return norm
    if row.reason is not None:
        return replace(norm, kept=row.reason, blocks_pool=POOL_REFUSAL in row.reason)
    found = [weights[name] for name in row.into if name in weights]
    return replace(norm, folded_weight=max(found, default=None))


def _largest_weights(model: ir.Model) -> Iterator[tuple[str, float]]:
    """Yield each layer's name and its largest absolute weight or bias."""
    for graph in [*model.graph.subgraphs(), model.graph]:
        for node in graph:
            tensors = [value.const_value for value in node.inputs[1:] if value is not None]
            arrays = [tensor.numpy() for tensor in tensors if tensor is not None]
            sizes = [
                np.abs(a.astype(np.float64)).max(initial=0.0) for a in arrays if a.dtype != object
            ]
            if sizes and node.op_type in ("Conv", "ConvTranspose", "Gemm", "MatMul"):
                yield name_of(node), float(max(sizes))


def name_of(node: ir.Node) -> str:
    """Return a node's name as a fold reports it."""
    return node.name or node.outputs[0].name or node.op_type
