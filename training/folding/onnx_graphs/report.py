"""The report of a fold as one JSON document; its fields are in docs/fold-report.md."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import onnx_ir as ir

    from training.folding.onnx_graphs.folding import FoldedModel
    from training.folding.report import Row
    from training.folding.verdict import Verdict

SCHEMA = 1


def fold_report(
    path: Path,
    output: Path,
    original: ir.Model,
    folded: FoldedModel,
    errors: Sequence[float | None],
    verdict: Verdict,
) -> dict[str, Any]:
    """Return what was folded into what, what was not and why, and the verdict."""
    return {
        "schema": SCHEMA,
        "model": str(path),
        "folded": str(output) if verdict.holds else None,
        "batch_norms_before": count_norms(original),
        "batch_norms_after": count_norms(folded.model),
        "layers": [_row(row, error) for row, error in zip(folded.rows, errors, strict=True)],
        "proof": verdict_report(verdict),
    }


def verdict_report(verdict: Verdict) -> dict[str, Any]:
    """Return a verdict as plain values."""
    return {"holds": verdict.holds, **asdict(verdict)}


def count_norms(model: ir.Model) -> int:
    """Return how many BatchNormalization nodes a model has, bodies and functions included."""
    graphs = [*model.graphs(), *(function.graph for function in model.functions.values())]
    return sum(node.op_type == "BatchNormalization" for graph in graphs for node in graph)


def _row(row: Row, error: float | None) -> dict[str, Any]:
    return {
        "name": row.norm.name,
        "kind": "batch norm" if row.is_norm else "constant",
        "channels": row.norm.channels,
        "into": list(row.into),
        "pattern": row.pattern,
        "reason": row.reason,
        "largest_scale": row.largest_scale,
        "relative_error": error,
    }
