"""Folds an ONNX model: the graph, the bodies of its control flow, and its functions."""

from __future__ import annotations

from dataclasses import dataclass

import onnx_ir as ir
from onnx_ir.passes import common

from training.folding.engine import planner
from training.folding.engine.graph import Affine, KeptNorm
from training.folding.engine.report_row import Row
from training.folding.engine.spelled_out import spelled_out
from training.folding.onnx_frontend.constants import Constants
from training.folding.onnx_frontend.materialize import materialize, materialize_amounts
from training.folding.onnx_frontend.shapes import infer_shapes
from training.folding.onnx_frontend.splits import drop_whole_slices, split_sequences
from training.folding.onnx_frontend.view import View, view_of
from training.folding.onnx_frontend.weight_norms import compute_norms
from training.folding.onnx_frontend.write_back import Writer, names_of

FREE_INITIALIZERS = 4  # the first version of the format whose constants need not be inputs


@dataclass(frozen=True)
class FoldedModel:
    """A model without the batch norms that could go.

    Attributes:
        rows: what became of every batch norm, and the constants that were folded.
        same: tensor of this model -> tensor of the original with the same numbers.
        constants: whether initializers that are inputs as well were taken for constants.
        has_norms: whether there was a batch norm, as a node or spelled out.
        probes: for each row a tensor of this model that shows the fold, and the original's tensor
            with the same numbers; None where there is none.
    """

    model: ir.Model
    rows: tuple[Row, ...]
    same: dict[str, str]
    probes: tuple[tuple[str, str] | None, ...]
    constants: bool = False
    has_norms: bool = True

    @property
    def unchanged(self) -> bool:
        """Whether the model as it was is to be kept: no batch norm, or nothing folded."""
        return not self.has_norms or not any(row.folded for row in self.rows)

    @property
    def norms(self) -> tuple[Row, ...]:
        """The rows of batch norms."""
        return tuple(row for row in self.rows if row.is_norm)


def fold_model(model: ir.Model, *, clones: bool = False, constants: bool = False) -> FoldedModel:
    """Return a folded copy; the model itself is not changed.

    Functions are inlined. A body of control flow is folded as a graph of its own, what it reads of
    the graph around it is left alone.

    Args:
        model: any model.
        clones: whether layers and weights with several readers may be copied.
        constants: whether initializers that are inputs as well, which callers may override, are
            constants: they are taken from the inputs.
    """
    copy = prepared(model, constants=constants)
    has_norms = False
    rows: list[Row] = []
    same: dict[str, str] = {}
    probes: list[tuple[str, str] | None] = []
    opset, taken = copy.opset_imports.get("", 1), names_of(copy)
    for graph in [*copy.graph.subgraphs(), copy.graph]:
        computed = compute_norms(graph, Constants(opset))
        rows += computed
        probes += [None] * len(computed)
        view = view_of(graph, Constants(opset), clones=clones)
        has_norms |= bool(computed) or _has_norms(view)
        folded = planner.fold(view.graph)
        Writer(view, opset, taken).write()
        rows += folded
        same |= {
            view.name_of(value): value.original_name for value in view.values if value.original_name
        }
        probes += [_probe(view, row) for row in folded]
    for graph in [*copy.graph.subgraphs(), copy.graph]:
        materialize(graph, Constants(opset))
    common.RemoveUnusedNodesPass()(copy)
    for output, stated in zip(copy.graph.outputs, model.graph.outputs, strict=True):
        if stated.shape is not None:
            output.shape = stated.shape.copy()
    return FoldedModel(copy, tuple(rows), same, tuple(probes), constants, has_norms)


def prepared(model: ir.Model, *, constants: bool = False) -> ir.Model:
    """Return a copy in the form that is folded: functions inlined, constants as initializers.

    Before version 4 the format had no other place for constants than the inputs.
    """
    copy = model.clone()
    if constants or copy.ir_version < FREE_INITIALIZERS:
        common.RemoveInitializersFromInputsPass()(copy)
        copy.ir_version = max(copy.ir_version, FREE_INITIALIZERS)
    common.InlinePass()(copy)
    common.RemoveUnusedNodesPass()(copy)
    common.LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0)(copy)
    infer_shapes(copy)
    opset = copy.opset_imports.get("", 1)
    graphs = [copy.graph, *copy.graph.subgraphs()]
    found = [materialize_amounts(graph, Constants(opset)) for graph in graphs]
    if any(found):
        common.RemoveUnusedNodesPass()(copy)
        infer_shapes(copy)
    names = names_of(copy)
    for graph in copy.graphs():
        split_sequences(graph, opset, names)
        drop_whole_slices(graph, opset)
    return copy


def _has_norms(view: View) -> bool:
    """Whether there is a batch norm, as a node or spelled out; single constants are none."""
    kinds = (node.operation for node in view.graph.nodes)
    return any(
        isinstance(kind, KeptNorm) or (isinstance(kind, Affine) and kind.norms) for kind in kinds
    ) or any(spelled_out(view.graph))


def _probe(view: View, row: Row) -> tuple[str, str] | None:
    if row.probe is None or row.probe.original_name is None:
        return None
    return view.name_of(row.probe), row.probe.original_name
