"""A fold and a verdict, as tables and as JSON: `foldnorm fold`, `foldnorm verify A B`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import onnx_ir as ir
from rich.table import Table

from training.folding.engine.report_row import Row
from training.folding.onnx_fold import OnnxFold
from training.folding.proof.verdict import TITLES as VERDICT_TITLES
from training.folding.proof.verdict import Verdict

NO_PROOF: dict[str, Any] = {
    "outcome": "none",
    "holds": None,
    "judged": 0,
    "notes": ["nothing was proved (--no-proof)"],
}


def fold_table(rows: Sequence[Row], errors: Sequence[float | None]) -> Table:
    """Return what became of every batch norm: a row for each."""
    table = Table("batch norm", "channels", "folded into, or why not", "largest scale", "error")
    for row, error in zip(rows, errors, strict=True):
        table.add_row(
            row.name,
            str(row.norm.channels),
            row.outcome,
            "" if row.largest_scale is None else f"{row.largest_scale:.4g}",
            "" if error is None else f"{error:.2g}",
        )
    return table


def verdict_table(verdict: Verdict, other: str) -> Table:
    """Return the verdict, part by part."""
    table = Table(*VERDICT_TITLES, title=verdict.title)
    for line in verdict.lines(other):
        table.add_row(*line)
    return table


SCHEMA = 1


def fold_report(fold: OnnxFold, output: Path) -> dict[str, Any]:
    """Return what was folded into what, what was not and why, and the verdict."""
    written = fold.verdict is None or fold.verdict.holds
    return {
        "schema": SCHEMA,
        "model": str(fold.name),
        "folded": str(output) if written else None,
        "batch_norms_before": count_norms(fold.original),
        "batch_norms_after": count_norms(fold.folded.model),
        "layers": [
            _row(row, error) for row, error in zip(fold.folded.rows, fold.errors, strict=True)
        ],
        "proof": NO_PROOF if fold.verdict is None else verdict_report(fold.verdict),
    }


def verdict_report(verdict: Verdict) -> dict[str, Any]:
    """Return a verdict as plain values."""
    plain = asdict(replace(verdict, example=None))
    del plain["example"]
    return {"outcome": verdict.outcome, "holds": verdict.holds, **plain}


def totals(fold: OnnxFold) -> str:
    """Return how many batch norms there were and are, and the verdict, as one line."""
    before, after = count_norms(fold.original), count_norms(fold.folded.model)
    if fold.folded.unchanged:
        end = "; nothing to fold: the model stays as it is"
    else:
        end = "" if fold.verdict is not None else f"; {NO_PROOF['notes'][0]}"
    return f"batch norms: {before} before, {after} after{end}"


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
