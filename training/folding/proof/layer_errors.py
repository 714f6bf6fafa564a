"""The error of each fold by itself: tensors that must be equal, before and after."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx_ir as ir

from training.errors import GraphError
from training.folding.proof.inputs.seeded import Feed
from training.folding.proof.running.exposure import exposed, inner_tensors
from training.folding.proof.running.sessions import Session, written

Pair = tuple[str, str]  # a tensor of the folded model, and that of the original


def layer_errors(
    original: ir.Model, folded: ir.Model, pairs: Sequence[Pair | None], feed: Feed
) -> list[float | None]:
    """Return for each pair max |difference| over max |original|, as onnxruntime computes them.

    None where there is no pair, or where a tensor inside a body of control flow cannot be seen.
    """
    left, right = (_names(one) for one in (original, folded))
    seen = [pair for pair in pairs if pair and pair[0] in right and pair[1] in left]
    if not seen:
        return [None] * len(pairs)
    try:
        numbers = [
            _tensors(model, {pair[which] for pair in seen}, feed)
            for which, model in ((1, original), (0, folded))
        ]
    except GraphError:
        return [None] * len(pairs)
    return [
        _error(numbers[0], numbers[1], pair) if pair in seen and pair else None for pair in pairs
    ]


def _names(model: ir.Model) -> set[str]:
    return inner_tensors(model) | {str(value.name) for value in model.graph.outputs}


def _tensors(model: ir.Model, names: set[str], feed: Feed) -> dict[str, np.ndarray]:
    """Return tensors of a model by name."""
    with written(exposed(model, sorted(names & inner_tensors(model)))) as path:
        return Session(path, "disable_all").run(feed)


def _error(
    original: dict[str, np.ndarray], folded: dict[str, np.ndarray], pair: Pair
) -> float | None:
    one, other = original.get(pair[1]), folded.get(pair[0])
    if one is None or other is None or one.shape != other.shape:
        return None
    difference = np.abs(one.astype(np.float64) - other).max(initial=0.0)
    scale = np.abs(one).max(initial=0.0)
    return float(difference / scale) if scale else float(difference)
