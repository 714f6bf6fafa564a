"""The proof: honest folds hold, and each fault is caught by the part that should catch it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest

from tests.onnx_models import Builder
from training.errors import FoldError
from training.folding.onnx_frontend import FoldedModel, fold_model
from training.folding.proof import compare_models, prove_fold
from training.folding.proof.comparison import Comparison
from training.folding.proof.inputs.seeded import KINDS, single_feed
from training.folding.proof.inputs.sizes import InputSpec, sizes_to_try
from training.folding.proof.judging import judge
from training.folding.proof.layer_errors import layer_errors
from training.folding.proof.running.precision import in_float64
from training.folding.proof.verdict import Verdict


def network(seed: int = 0) -> ir.Model:
    """Convolutions with borders, a residual sum, a mean and a dense layer, each with a norm."""
    builder = Builder(("N", 3, "H", "W"), seed=seed)
    builder.conv(3, 4, pads=[1, 1, 1, 1])
    builder.norm(4)
    source = builder.add("Relu")
    builder.conv(4, 4, pads=[1, 1, 1, 1])
    builder.norm(4)
    builder.add("Add", builder.last, source)
    builder.add("Relu")
    builder.norm(4)
    builder.conv(4, 6, pads=[1, 1, 1, 1])
    builder.add("GlobalAveragePool")
    builder.add("Flatten")
    builder.add("Gemm", builder.last, builder.random("g", 6, 5), builder.random("c", 5))
    builder.norm(5)
    return builder.model()


Fault = Callable[[ir.Model], None]


def weights(model: ir.Model, rank: int) -> list[ir.Value]:
    return [v for v in model.graph.initializers.values() if len(v.shape or ()) == rank]


def changed(value: ir.Value, array: np.ndarray) -> None:
    assert value.const_value is not None
    kind = value.const_value.numpy().dtype
    value.const_value = ir.tensor(np.ascontiguousarray(array).astype(kind), name=value.name)


def forget_bias(model: ir.Model) -> None:
    conv = next(n for n in model.graph if n.op_type == "Conv")
    bias = conv.inputs[2]
    assert bias is not None
    assert bias.const_value is not None
    changed(bias, 0 * bias.const_value.numpy())


def swap_channels(model: ir.Model) -> None:
    value = weights(model, 4)[0]
    assert value.const_value is not None
    array = value.const_value.numpy().copy()
    array[[0, 1]] = array[[1, 0]]
    changed(value, array)


def wrong_axis(model: ir.Model) -> None:
    """As where W^T is scaled in place of W."""
    value = weights(model, 4)[1]
    assert value.const_value is not None
    changed(value, value.const_value.numpy().swapaxes(0, 1))


def zero_border(model: ir.Model) -> None:
    """The border that the fold of a norm before a padding layer needs, left at zero."""
    node = next(n for n in model.graph if n.op_type == "Mul" and "border" in str(n.name))
    (value,) = [v for v in node.inputs if v is not None and v.is_initializer()]
    assert value.const_value is not None
    changed(value, 0 * value.const_value.numpy())


def one_weight_off_by_a_thousandth(model: ir.Model) -> None:
    value = weights(model, 2)[0]
    assert value.const_value is not None
    array = value.const_value.numpy().copy()
    array[0, 0] *= 1.001
    changed(value, array)


def proved(model: ir.Model, fault: Fault | None = None) -> Verdict:
    """The verdict where the fold makes the same mistake in either precision."""
    folded, exact = (fold_model(one).model for one in (model, in_float64(model)))
    for one in (folded, exact) if fault else ():
        assert fault is not None
        fault(one)
    return Comparison(model, folded, lambda: exact).verdict()


@pytest.mark.parametrize("seed", range(8))
def test_an_honest_fold_holds(seed: int) -> None:
    model = network(seed)
    folded = fold_model(model)
    assert len([row for row in folded.norms if row.folded]) == 4
    verdict = prove_fold(model, folded)
    assert verdict.holds
    assert verdict.algebra is not None
    assert verdict.algebra.ratio < 0.1
    assert verdict.judged == 2 * (len(KINDS) + 2 + 1)  # kinds in each batch, in two sizes


@pytest.mark.parametrize(
    "fault",
    [forget_bias, swap_channels, wrong_axis, zero_border, one_weight_off_by_a_thousandth],
)
def test_every_fault_fails_the_algebra_and_the_comparison(fault: Fault) -> None:
    verdict = proved(network(), fault)
    assert not verdict.holds
    assert verdict.algebra is not None
    assert verdict.algebra.ratio > 1e3
    assert verdict.rounding.ratio > 1


def test_lost_precision_fails_the_second_part_alone() -> None:
    model = network()
    folded = fold_model(model)
    for value in folded.model.graph.initializers.values():
        assert value.const_value is not None
        array = value.const_value.numpy()
        if array.dtype == np.float32:
            changed(value, array.astype(np.float16))
    verdict = prove_fold(model, folded)
    assert verdict.algebra is not None
    assert verdict.algebra.ratio <= 1
    assert verdict.rounding.ratio > 1
    assert not verdict.holds


def test_two_models_of_one_network_compare_as_the_same_and_others_do_not() -> None:
    model = network()
    same = compare_models(model, fold_model(model).model)
    assert same.holds
    assert same.algebra is None
    assert not compare_models(model, network(1)).holds


def test_models_with_other_inputs_are_not_compared() -> None:
    builder = Builder((2, 5))
    builder.add("Relu")
    with pytest.raises(FoldError, match="different inputs"):
        compare_models(network(), _renamed(builder.model()))


def _renamed(model: ir.Model) -> ir.Model:
    model.graph.inputs[0].name = "other"
    return model


def test_numbers_that_are_not_finite_in_the_original_say_nothing() -> None:
    builder = Builder(("N", 5))
    builder.add("Gemm", builder.last, builder.random("g", 5, 4))
    builder.norm(4)
    builder.add("Exp")
    builder.add("Exp")
    builder.add("Sqrt")
    model = builder.model()
    verdict = prove_fold(model, fold_model(model))
    assert verdict.holds


def test_nothing_compared_is_no_proof() -> None:
    assert not judge([]).holds


def test_an_operator_without_reference_is_noted(tmp_path: Path) -> None:
    builder = Builder(("N", 5))
    builder.add("Gemm", builder.last, builder.random("g", 5, 4))
    builder.norm(4)
    builder.add("Gelu", domain="com.microsoft")
    proto = builder.proto()
    proto.opset_import.add(domain="com.microsoft", version=1)
    model = ir.from_proto(proto)
    folded: FoldedModel = fold_model(model)
    verdict = prove_fold(model, folded)
    assert verdict.algebra is None
    assert "nothing was computed in float64" in verdict.notes[0]
    assert verdict.holds


def test_each_fold_has_an_error_of_its_own() -> None:
    model = network()
    folded = fold_model(model)
    specs = [InputSpec("x", np.dtype(np.float32), (None, 3, 8, 8))]
    first = single_feed(specs, sizes_to_try(specs)[0][0])
    errors = layer_errors(model, folded.model, folded.probes, first)
    assert len(errors) == len(folded.rows)
    assert all(error is not None and error < 1e-5 for error in errors)
    forget_bias(folded.model)
    wrong = layer_errors(model, folded.model, folded.probes, first)
    assert max(error or 0 for error in wrong) > 1e-3


def test_given_data_is_part_of_the_proof(tmp_path: Path) -> None:
    model = network()
    np.save(tmp_path / "x.npy", np.ones((3, 3, 8, 8), np.float32))
    folded = fold_model(model)
    with_data = prove_fold(model, folded, data=tmp_path / "x.npy")
    assert with_data.judged == prove_fold(model, folded).judged + 1
    np.savez(tmp_path / "y.npz", other=np.ones(3))
    with pytest.raises(FoldError, match=r"has arrays \['other'\], and the model takes \['x'\]"):
        prove_fold(model, folded, data=tmp_path / "y.npz")
    np.save(tmp_path / "z.npy", np.ones((3, 4, 8, 8), np.float32))
    with pytest.raises(FoldError, match="give numbers of that shape"):
        prove_fold(model, folded, data=tmp_path / "z.npy")
