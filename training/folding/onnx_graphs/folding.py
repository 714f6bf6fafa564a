"""Folds an ONNX model: the graph, the bodies of its control flow, and its functions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import onnx_ir as ir
from onnx_ir.passes import common

from training.folding import planner
from training.folding.onnx_graphs.constants import Constants
from training.folding.onnx_graphs.view import view_of
from training.folding.onnx_graphs.write_back import Writer

if TYPE_CHECKING:
    from training.folding.report import Row


@dataclass(frozen=True)
class FoldedModel:
    """A model without the batch norms that could go.

    Attributes:
        rows: what became of every batch norm.
        same: tensor of this model -> tensor of the original with the same numbers.
    """

    model: ir.Model
    rows: tuple[Row, ...]
    same: dict[str, str]


def fold_model(model: ir.Model, *, clones: bool = False) -> FoldedModel:
    """Return a folded copy; the model itself is not changed.

    Args:
        model: any model.
        clones: whether layers and weights with several readers may be copied.
    """
    copy = model.clone()
    common.InlinePass()(copy)
    common.LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0)(copy)
    common.ShapeInferencePass(check_type=False, strict_mode=False, data_prop=True)(copy)
    rows: list[Row] = []
    same: dict[str, str] = {}
    for graph in [*copy.graph.subgraphs(), copy.graph]:
        view = view_of(graph, Constants(), clones=clones)
        rows += planner.fold(view.graph)
        Writer(view).write()
        same |= {
            view.values[value].name or "": value.meaning
            for value in view.values
            if value.meaning is not None
        }
    common.RemoveUnusedNodesPass()(copy)
    return FoldedModel(copy, tuple(rows), same)
