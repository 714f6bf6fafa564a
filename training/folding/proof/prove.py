"""The proof of a fold, and of any two models: evidence on seeded inputs, and the verdict."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import onnx_ir as ir

from training.folding.onnx_frontend import FoldedModel, fold_model
from training.folding.proof.comparison import Comparison, decides
from training.folding.proof.running.exposure import exposed, inner_tensors
from training.folding.proof.running.precision import in_float64
from training.folding.proof.verdict import Verdict

MAX_PROBES = 16
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

    def exact() -> FoldedModel:
        return fold_model(in_float64(original), clones=clones, constants=folded.constants)

    if not decides(original):
        comparison = Comparison(
            original, folded.model, lambda: exact().model, data, seed, sizes or {}
        )
        return comparison.verdict()
    one, other, algebra = _with_probes(original, folded, exact())
    return Comparison(one, other, lambda: algebra, data, seed, sizes or {}).verdict()


def _with_probes(
    original: ir.Model, folded: FoldedModel, exact: FoldedModel
) -> tuple[ir.Model, ir.Model, ir.Model]:
    """Return the models with tensors that show the folds, the last ones, among their outputs.

    What a model decides, rounding may decide; what it decides by does not turn on the last bit.
    """
    pairs = {pair[1]: pair[0] for pair in folded.probes if pair}
    exact_pairs = {pair[1]: pair[0] for pair in exact.probes if pair}
    own, others, exacts = (inner_tensors(one) for one in (original, folded.model, exact.model))
    inner = [
        name
        for name in pairs
        if name in own and pairs[name] in others and exact_pairs.get(name) in exacts
    ][-MAX_PROBES:]
    return (
        exposed(original, inner),
        exposed(folded.model, [pairs[name] for name in inner]),
        exposed(exact.model, [exact_pairs[name] for name in inner]),
    )


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
