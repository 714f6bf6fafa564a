"""The proof of a fold, and of any two models: evidence on seeded inputs, and the verdict."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import onnx_ir as ir

from training.folding.onnx_frontend import FoldedModel, fold_model
from training.folding.proof.comparison import Comparison
from training.folding.proof.running.precision import in_float64
from training.folding.proof.verdict import Verdict

UNCHANGED = Verdict(
    unchanged=True, notes=("nothing was folded: the model is as it was, byte for byte",)
)


def prove_fold(
    original: ir.Model,
    folded: FoldedModel,
    *,
    clones: bool = False,
    data: Path | None = None,
    seed: int = 0,
    sizes: Mapping[str, int] | None = None,
) -> Verdict:
    """Return whether a fold changed nothing but rounding.

    The algebra is proved on the same fold of the model in float64, whose weights are never rounded.

    Args:
        original: the model that was folded.
        folded: what became of it.
        clones: whether layers with several readers were copied.
        data: own inputs: .npz by input name, or .npy.
        seed: of the inputs.
        sizes: of free axes, by symbol, or by `INPUT.AXIS`.

    Raises:
        FoldError: `data` or `sizes` do not fit the model, or what it takes is not known.
    """
    if not any(row.folded for row in folded.rows):
        return UNCHANGED

    def algebra() -> ir.Model:
        return fold_model(in_float64(original), clones=clones, constants=folded.constants).model

    return Comparison(original, folded.model, algebra, data, seed, sizes or {}).verdict()


def compare_models(
    original: ir.Model,
    other: ir.Model,
    *,
    data: Path | None = None,
    seed: int = 0,
    sizes: Mapping[str, int] | None = None,
) -> Verdict:
    """Return whether two models are the same but for rounding.

    In float64 they may differ by the rounding of their weights, so the first rule does not apply.

    Raises:
        FoldError: the models differ in inputs or outputs, or `data` or `sizes` do not fit.
    """
    return Comparison(original, other, None, data, seed, sizes or {}).verdict()
