"""Parts of tensors are written so that nothing is copied twice, or for nothing."""

from __future__ import annotations

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from tests.onnx_networks import layer, network, norm, operators
from training.folding.onnx_frontend import fold_model
from training.folding.proof import prove_fold

HEAD = "(float[2,3,8,8] x) => (float[] y) { c = Conv(x, w) "
BN = "BatchNormalization({x}, gamma, beta, mean, var)"
NUMBERS = {"zero": np.array(0), "one": np.array(1), "last": np.array(-1), "two": np.array(2)}
SIZES = {"sizes": np.array([1, 3]), "wrong": np.array([1, 1])}
PARAMETERS = layer(4, 3, 3, 3) | norm(4) | NUMBERS | SIZES
PARTS = "a = SequenceAt(s, {first}) b = SequenceAt(s, {second}) r = Relu(a) "
END = "y = Concat<axis = 1>(r, b) }"


def folded(text: str, opset: int = 18) -> tuple[ir.Model, list[str]]:
    """Return the folded network, proved, and its operators."""
    model = network(f"{HEAD}{text}", PARAMETERS, opset=opset)
    result = fold_model(model)
    onnx.checker.check_model(ir.to_proto(result.model), full_check=True)
    assert prove_fold(model, result).holds
    return result.model, operators(result.model)


@pytest.mark.parametrize(
    ("opset", "sizes", "first", "second"),
    [(12, "sizes", "zero", "one"), (13, "two", "last", "zero"), (18, "sizes", "one", "last")],
)
def test_parts_that_are_taken_by_number_are_outputs(
    opset: int, sizes: str, first: str, second: str
) -> None:
    _, names = folded(
        f"p = {BN.format(x='c')} s = SplitToSequence<axis = 1>(p, {sizes}) "
        f"{PARTS.format(first=first, second=second)}{END}",
        opset,
    )
    assert names == ["Conv", "Split", "Relu", "Concat"]


def test_a_batch_norm_goes_across() -> None:
    _, names = folded(
        "s = SplitToSequence<axis = 1>(c, sizes) a = SequenceAt(s, zero) b = SequenceAt(s, one) "
        f"j = Concat<axis = 1>(a, b) y = {BN.format(x='j')} }}"
    )
    assert "BatchNormalization" not in names


@pytest.mark.parametrize(
    "text",
    [
        f"{PARTS.format(first='zero', second='one')}n = SequenceLength(s) f = Cast<to = 1>(n) "
        "z = Add(b, f) y = Concat<axis = 1>(r, z) }",
        "i = ReduceMax<keepdims = 0>(p) k = Sub(i, i) n = Cast<to = 7>(k) a = SequenceAt(s, n) "
        "y = Relu(a) }",
        "r = Relu(p) y = SequenceAt(s, one) }",
    ],
    ids=["its length is read", "a number that is computed", "a part is an output"],
)
def test_a_sequence_that_anything_else_reads_stays(text: str) -> None:
    _, names = folded(f"p = {BN.format(x='c')} s = SplitToSequence<axis = 1>(p, sizes) {text}")
    assert "SplitToSequence" in names
    assert "Split" not in names


def test_parts_that_are_not_all_of_it_stay() -> None:
    """No runtime runs it: that is for the runtime to say."""
    model = network(
        f"{HEAD}p = {BN.format(x='c')} s = SplitToSequence<axis = 1>(p, wrong) "
        f"{PARTS.format(first='zero', second='one')}{END}",
        PARAMETERS,
        opset=18,
    )
    assert "Split" not in operators(fold_model(model).model)


def test_names_that_are_taken_stay_those_of_their_tensors() -> None:
    model, _ = folded(
        f"s_sizes = Relu(c) p = {BN.format(x='s_sizes')} s = SplitToSequence<axis = 1>(p, sizes) "
        f"s_0 = SequenceAt(s, one) r = Relu(s_0) s_1 = Tanh(r) y = Concat<axis = 1>(s_1, s_1) }}"
    )
    assert "s_sizes_1" in model.graph.initializers


BOUNDS = {
    "none": np.array([0]),
    "first": np.array([1]),
    "far": np.array([-9]),
    "four": np.array([4]),
    "three": np.array([3]),
    "end": np.array([2**63 - 1]),
    "ones": np.array([1]),
    "twos": np.array([2]),
}


def sliced(arguments: str, batch: str = "2") -> list[str]:
    """Return the operators of a folded network with a Slice behind its batch norm."""
    model = network(
        f"(float[{batch},3,8,8] x) => (float[] y) {{ c = Conv(x, w) p = {BN.format(x='c')} "
        f"r = Relu(p) s = Slice(r, {arguments}) y = Tanh(s) }}",
        PARAMETERS | BOUNDS,
        opset=18,
    )
    result = fold_model(model)
    assert prove_fold(model, result).holds
    return operators(result.model)


@pytest.mark.parametrize(
    ("arguments", "batch"),
    [
        ("none, four, ones", "2"),
        ("none, end, ones", "2"),
        ("far, end, ones, ones", "2"),
        ("none, end, none", "N"),
    ],
)
def test_a_slice_that_takes_all_there_is_goes(arguments: str, batch: str) -> None:
    assert sliced(arguments, batch) == ["Conv", "Relu", "Tanh"]


@pytest.mark.parametrize(
    ("arguments", "batch"),
    [
        ("first, four, ones", "2"),
        ("none, three, ones", "2"),
        ("none, end, ones, twos", "2"),
        ("none, four, none", "N"),
    ],
)
def test_a_slice_that_leaves_something_stays(arguments: str, batch: str) -> None:
    assert sliced(arguments, batch) == ["Conv", "Relu", "Slice", "Tanh"]
