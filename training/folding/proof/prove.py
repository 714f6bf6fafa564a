"""The proof of a fold, and of any two models: evidence on seeded inputs, and the verdict."""

from __future__ import annotations

from pathlib import Path

import onnx_ir as ir

from training.folding.onnx_frontend.folded_model import FoldedModel, fold_model
from training.folding.proof.evidence import Models
from training.folding.proof.inputs import feeds, given_feeds
from training.folding.proof.precision import in_float64
from training.folding.proof.verdict import Verdict, judge


def prove_fold(
    original: ir.Model,
    folded: FoldedModel,
    *,
    clones: bool = False,
    data: Path | None = None,
    seed: int = 0,
) -> Verdict:
    """Return whether a fold changed nothing but rounding.

    The algebra is proved on the same fold of the model in float64, whose weights are never rounded.

    Raises:
        FoldError: the model cannot be run, or `data` does not fit it.
    """
    algebra = fold_model(in_float64(original), clones=clones).model
    return _judge(Models(original, folded.model, algebra), data, seed, exact=True)


def compare_models(
    original: ir.Model, other: ir.Model, *, data: Path | None = None, seed: int = 0
) -> Verdict:
    """Return whether two models are the same but for rounding.

    In float64 they may differ by the rounding of their weights, so the first rule does not apply.

    Raises:
        FoldError: the models differ in inputs or outputs, cannot be run, or `data` does not fit.
    """
    return _judge(Models(original, other), data, seed, exact=False)


def _judge(models: Models, data: Path | None, seed: int, *, exact: bool) -> Verdict:
    given = [] if data is None else given_feeds(data, models.specs)
    evidence = models.evidence([*given, *feeds(models.specs, seed)])
    return judge(evidence, models.notes, exact=exact and models.reference_note is None)
