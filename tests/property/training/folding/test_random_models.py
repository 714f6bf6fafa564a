"""Real ONNX files of any kind: folded, they compute the same, and no batch norm stays silently."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
import onnx.inliner
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.random_models import oracle
from tests.random_models.model import RandomModel, random_model
from tests.random_models.norms import SPELLED
from tests.random_models.scope import GONE
from training.folding.onnx_fold import OnnxFold, Options, fold_file, fold_proto

EXAMPLES = int(os.environ.get("FOLDNORM_RANDOM_MODELS", "12"))  # 2,000 by hand, in ten minutes
UNPROVED = Options(proof=False)
ARITHMETIC = ("BatchNormalization", "Add", "Sub", "Mul", "Div")

seeds = st.integers(0, 2**32 - 1)
quick = settings(derandomize=True, deadline=None, max_examples=EXAMPLES)
pytestmark = pytest.mark.filterwarnings("ignore")


def _nodes(graph: onnx.GraphProto) -> Iterator[onnx.NodeProto]:
    for node in graph.node:
        yield node
        for attribute in node.attribute:
            yield from _nodes(attribute.g)


def _left(fold: OnnxFold) -> list[onnx.NodeProto]:
    return list(_nodes(onnx.inliner.inline_local_functions(fold.model).graph))


@quick
@given(seeds)
def test_a_folded_file_computes_the_same_and_hides_no_batch_norm(seed: int) -> None:
    drawn = random_model(seed)
    fold = fold_proto(drawn.proto, UNPROVED)
    onnx.checker.check_model(fold.model, full_check=True)
    _check_numbers(seed, drawn, fold)
    _check_rows(drawn, fold)
    _check_face(drawn, fold)


def _check_numbers(seed: int, drawn: RandomModel, fold: OnnxFold) -> None:
    """Both compute the same, in float64 and as onnxruntime serves them."""
    exact = random_model(seed, np.float64)
    truth = oracle.exact(exact.proto, exact.inputs)
    algebra = oracle.exact(fold_proto(exact.proto, UNPROVED).model, exact.inputs)
    assert oracle.error(truth, algebra) < oracle.EXACT
    original = oracle.served(drawn.proto, drawn.inputs, optimized=False)
    allowed = oracle.AMPLIFIED * oracle.error(truth, original) + oracle.ROUNDING
    for optimized in (False, True):
        served = oracle.served(fold.model, drawn.inputs, optimized=optimized)
        assert oracle.error(truth, served) <= allowed


def _check_rows(drawn: RandomModel, fold: OnnxFold) -> None:
    """Every batch norm is gone or has its reason, and is gone where it can be."""
    left = _left(fold)
    kept = [row for row in fold.rows if row.is_norm and not row.folded]
    assert len(kept) == sum(node.op_type == "BatchNormalization" for node in left)
    assert all(row.reason for row in kept)
    if not fold.folded.unchanged:
        assert sum(row.is_norm for row in fold.rows) == drawn.norms
    assert [n.name for n in left if GONE in n.name and n.op_type in ARITHMETIC] == []
    if any(SPELLED in node.name for node in left):
        assert any(row.reason and not row.is_norm for row in fold.rows)


def _check_face(drawn: RandomModel, fold: OnnxFold) -> None:
    """Folding again changes nothing; inputs, outputs and files without folds are as they were."""
    assert fold_proto(fold.model, UNPROVED).folded.unchanged
    assert list(fold.model.graph.output) == list(drawn.proto.graph.output)
    constants = {one.name for one in drawn.proto.graph.initializer}
    old = drawn.proto.ir_version < 4  # where each constant is an input too
    inputs = [one for one in drawn.proto.graph.input if not (old and one.name in constants)]
    assert [one for one in fold.model.graph.input if not (old and one.name in constants)] == inputs
    if fold.folded.unchanged and not drawn.proto.graph.sparse_initializer:
        assert list(fold.model.graph.initializer) == list(drawn.proto.graph.initializer)


@settings(derandomize=True, deadline=None, max_examples=EXAMPLES // 4)
@given(seeds)
def test_the_proof_of_such_a_fold_holds(seed: int) -> None:
    drawn = random_model(seed)
    fold = fold_proto(drawn.proto, Options(sizes=drawn.sizes))
    assert fold.verdict is not None
    assert fold.verdict.outcome == "holds", str(fold.verdict)


@pytest.mark.parametrize("seed", range(1, 3))
def test_weights_in_another_file_are_folded_as_those_inside(seed: int, tmp_path: Path) -> None:
    drawn = random_model(seed)
    fold = fold_proto(drawn.proto, UNPROVED)
    path = tmp_path / "model.onnx"
    onnx.save(drawn.proto, path, save_as_external_data=True, location="weights", size_threshold=0)
    outside = fold_file(path, UNPROVED)
    assert [str(row) for row in outside.rows] == [str(row) for row in fold.rows]
    outside.write(tmp_path / "folded.onnx")
    written = onnx.load(tmp_path / "folded.onnx")
    truth = oracle.served(fold.model, drawn.inputs, optimized=False)
    assert oracle.error(truth, oracle.served(written, drawn.inputs, optimized=False)) == 0


def test_most_of_what_they_are_made_of_is_there() -> None:
    models = [random_model(seed).proto for seed in range(150)]
    kinds = {node.op_type for proto in models for node in _nodes(proto.graph)}
    wanted = "If Loop Scan Split DepthToSpace ConvTranspose Resize Pad Gather Squeeze Neg"
    assert set(wanted.split()) <= kinds
    assert any(proto.functions for proto in models)
    assert any(proto.graph.sparse_initializer for proto in models)
    assert {proto.opset_import[0].version for proto in models} >= set(range(7, 24))
