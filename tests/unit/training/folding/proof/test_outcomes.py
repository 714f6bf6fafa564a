"""Holds, fails, or could not be tested: each says why, and nothing is silent."""

from __future__ import annotations

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from tests.onnx_networks import layer, network, norm
from training.errors import FoldError
from training.folding.onnx_frontend import fold_model
from training.folding.proof import compare_models, prove_fold
from training.folding.proof.comparison import decides
from training.folding.proof.verdict import Verdict

BN = "BatchNormalization({x}, gamma, beta, mean, var)"
PARAMETERS = layer(4, 3, 3, 3) | norm(4)


def proved(model: ir.Model, **options: object) -> Verdict:
    return prove_fold(model, fold_model(model), **options)  # type: ignore[arg-type]


def affine(shape: str, tail: str, **extra: np.ndarray) -> ir.Model:
    """A dense layer and a batch norm, p, and what follows."""
    return network(
        f"({shape}) => (float[] y) {{ g = Gemm(x, w, b) p = {BN.format(x='g')} {tail} }}",
        layer(6, 4) | layer(4, name="b") | norm(4) | extra,
    )


def test_a_size_of_minus_one_or_zero_is_a_free_one() -> None:
    for size in (-1, 0):
        model = network(
            f"(float[N,3,8,8] x) => (float[] y) {{ c = Conv(x, w) y = {BN.format(x='c')} }}",
            PARAMETERS,
        )
        proto = ir.to_proto(model)
        proto.graph.input[0].type.tensor_type.shape.dim[0].dim_value = size
        from training.folding.onnx_fold import read_proto

        assert proved(read_proto(proto)).holds


def test_an_input_without_axes_is_given() -> None:
    model = network(
        "(float[N,6] x, int64 k) => (float[] y) "
        f"{{ g = Gemm(x, w, b) p = {BN.format(x='g')} f = Cast<to = 1>(k) y = Mul(p, f) }}",
        layer(6, 4) | layer(4, name="b") | norm(4),
    )
    verdict = proved(model)
    assert verdict.holds
    assert verdict.notes == ()


def test_a_symbol_is_one_number_wherever_it_stands() -> None:
    model = network(
        "(float[N,3,T] x, float[2,N,4] state) => (float[] y) "
        f"{{ c = Conv(x, w) p = {BN.format(x='c')} s = Gather<axis = 0>(state, zero) "
        "u = Unsqueeze(s, two) y = Add(p, u) }",
        layer(4, 3, 3) | norm(4) | {"zero": np.array(0), "two": np.array([2])},
    )
    assert proved(model).holds


def test_larger_sizes_are_tried_where_the_usual_ones_do_not_run() -> None:
    text = f"c = Conv<strides = [2, 2]>(x, w) c0 = {BN.format(x='c')}"
    for number in range(5):
        text += f" c{number + 1} = Conv<strides = [2, 2]>(c{number}, v)"
    model = network(
        f"(float[N,3,H,W] x) => (float[] y) {{ {text} y = Relu(c5) }}",
        layer(4, 3, 3, 3) | layer(4, 4, 3, 3, name="v", seed=1) | norm(4),
    )
    verdict = proved(model)
    assert verdict.holds
    assert "runs were left out" in verdict.notes[0]
    assert "onnxruntime cannot run it" in verdict.notes[0]


def test_free_sizes_can_be_given() -> None:
    model = network(
        "(float[N,3,H,W] x) => (float[] y) "
        f"{{ c = Conv(x, w) p = {BN.format(x='c')} f = Reshape(p, shape) y = MatMul(f, m) }}",
        PARAMETERS | {"shape": np.array([-1, 4 * 12 * 12])} | layer(4 * 12 * 12, 2, name="m"),
    )
    assert proved(model).outcome == "untested"
    assert proved(model, sizes={"H": 14, "W": 14}).holds
    with pytest.raises(FoldError, match=r"--size D=3: .* H, N, W, x\.0, x\.2, x\.3"):
        proved(model, sizes={"D": 3})


def test_what_never_runs_is_untested_and_says_why() -> None:
    model = affine("float[N,6] x", "r = Reshape(p, to) y = Relu(r)", to=np.array([3, 5]))
    verdict = proved(model)
    assert verdict.outcome == "untested"
    assert verdict.untested is not None
    assert "none of the inputs that were tried ran: onnxruntime cannot run it" in verdict.untested
    assert "normal inputs, x (1, 6)" in verdict.untested
    assert "--data" in verdict.untested


def test_what_onnxruntime_does_not_load_is_untested_and_says_why() -> None:
    model = affine("float[N,6] x", "y = Relu(p)")
    model.graph[2].op_type = "Unheard"
    verdict = proved(model)
    assert verdict.outcome == "untested"
    assert verdict.untested is not None
    assert "onnxruntime cannot load" in verdict.untested
    assert "Unheard" in verdict.untested


@pytest.mark.parametrize("pair", [([-1, 4], [4, -1, 1]), ([-1, 4], [1, -1, 4])])
def test_other_shapes_are_another_network(pair: tuple[list[int], list[int]]) -> None:
    one, other = (
        affine("float[7,6] x", "y = Reshape(p, to)", to=np.array(target)) for target in pair
    )
    verdict = compare_models(one, other)
    assert verdict.outcome == "fails"
    assert "the output 'y' is (7, 4) in one and (" in verdict.faults[0]


def test_texts_are_compared() -> None:
    def named(last: str) -> ir.Model:
        model = network(
            "(float[N,6] x) => (float[] p, string[] y) "
            f"{{ g = Gemm(x, w, b) p = {BN.format(x='g')} a = ArgMax<axis = 1>(p) "
            "y = local.Placeholder(a) }",
            layer(6, 4) | layer(4, name="b") | norm(4),
        )
        node = next(one for one in model.graph if one.op_type == "Placeholder")
        node.op_type, node.domain = "LabelEncoder", "ai.onnx.ml"
        node.attributes["keys_int64s"] = ir.AttrInt64s("keys_int64s", [0, 1, 2, 3])
        words = ["cat", "dog", "bird", last]
        node.attributes["values_strings"] = ir.AttrStrings("values_strings", words)
        model.opset_imports["ai.onnx.ml"] = 2
        return model

    assert proved(named("frog")).holds
    assert compare_models(named("frog"), named("frog")).holds
    assert compare_models(named("frog"), named("toad")).outcome == "fails"


def test_sequences_are_compared_tensor_by_tensor() -> None:
    model = network(
        "(float[N,6] x) => (seq(float[N,M]) y) "
        f"{{ g = Gemm(x, w, b) p = {BN.format(x='g')} y = SplitToSequence<axis = 1>(p, two) }}",
        layer(6, 4) | layer(4, name="b") | norm(4) | {"two": np.array([1, 3])},
    )
    assert proved(model).holds
    assert compare_models(model, model).judged > 3


def test_an_output_that_is_finite_in_places_is_compared_there() -> None:
    verdict = proved(affine("float[N,6] x", "y = Log(p)"))
    assert verdict.holds
    assert verdict.judged > 0
    forgotten = fold_model(affine("float[N,6] x", "y = Log(p)"))
    bias = next(v for v in forgotten.model.graph.initializers.values() if len(v.shape or ()) == 1)
    bias.const_value = ir.tensor(np.zeros(4, np.float32))
    assert prove_fold(affine("float[N,6] x", "y = Log(p)"), forgotten).outcome == "fails"


def test_an_output_that_is_never_finite_is_counted_and_proves_nothing() -> None:
    verdict = proved(affine("float[N,6] x", "z = Sub(p, p) y = Div(z, z)"))
    assert verdict.outcome == "untested"
    assert verdict.not_finite > 0
    assert verdict.untested is not None
    assert "not finite" in verdict.untested


@pytest.mark.parametrize("operator", ["RandomNormalLike", "RandomUniformLike"])
def test_a_network_that_draws_numbers_draws_the_same_in_both(operator: str) -> None:
    model = affine("float[N,6] x", f"r = {operator}(p) q = Add(p, r) y = Relu(q)")
    verdict = proved(model)
    assert verdict.holds
    assert "from one seed in both" in " ".join(verdict.notes)
    wrong = fold_model(model)
    bias = next(v for v in wrong.model.graph.initializers.values() if len(v.shape or ()) == 1)
    bias.const_value = ir.tensor(np.zeros(4, np.float32))
    assert prove_fold(model, wrong).outcome == "fails"


def test_an_operator_that_the_reference_cannot_run_is_noted() -> None:
    body = onnx.parser.parse_graph(
        "body (int64 i, bool c, float[N,4] v) => (bool d, float[N,4] u) "
        "{ d = Identity(c) u = Relu(v) }"
    )
    model = affine("float[N,6] x", "y = Relu(p)")
    proto = ir.to_proto(model)
    relu = proto.graph.node[2]
    relu.op_type = "Loop"
    relu.input[:] = ["three", "yes", "p"]
    relu.attribute.append(onnx.helper.make_attribute("body", body))
    proto.graph.initializer.append(onnx.numpy_helper.from_array(np.array(3), "three"))
    proto.graph.initializer.append(onnx.numpy_helper.from_array(np.array(True), "yes"))
    verdict = proved(ir.from_proto(proto))
    assert verdict.holds


def test_rounding_decides_how_many_there_are() -> None:
    """Scores that lie exactly at the threshold: the last bit decides, and nothing crashes."""
    model = network(
        f"(float[N,3,8,8] x) => (float[] y) {{ c = Conv(x, w) y = {BN.format(x='c')} }}",
        PARAMETERS,
    )
    from training.folding.proof.inputs.seeded import Feed
    from training.folding.proof.running.sessions import Session, written

    zeros = Feed({"x": np.zeros((1, 3, 8, 8), np.float32)}, ("zeros",))
    with written(model) as path:
        scores = Session(path, "disable_all").run(zeros)["y"][0, :, 4, 4]
    detector = network(
        "(float[N,3,8,8] x) => (int64[] y) "
        f"{{ c = Conv(x, w) p = {BN.format(x='c')} t = Greater(p, s) y = NonZero(t) }}",
        PARAMETERS | {"s": scores.reshape(4, 1, 1)},
    )
    verdict = proved(detector)
    assert verdict.outcome == "holds"
    assert verdict.undecided > 0
    wrong = fold_model(detector)
    bias = next(v for v in wrong.model.graph.initializers.values() if len(v.shape or ()) == 1)
    bias.const_value = ir.tensor(np.zeros(4, np.float32))
    assert prove_fold(detector, wrong).outcome == "fails"


def branch(name: str, seed: int, scale: float) -> str:
    return (
        f"{name} = g{seed} () => (float[N,4] {name}_y) "
        f"<float[4] {name}_b = {{0, 0, 0, {scale}}}> "
        f"{{ {name}_y = Add(p, {name}_b) }}"
    )


def switched(compared: int) -> ir.Model:
    return network(
        "(float[N,6] x, int64[1] rate) => (float[] y) "
        f"{{ g = Gemm(x, w, b) p = {BN.format(x='g')} e = Equal(rate, number) "
        f"c = Squeeze(e) q = If(c) <{branch('then_branch', 1, 5)}, {branch('else_branch', 2, 7)}> "
        "y = Relu(q) }",
        layer(6, 4) | layer(4, name="b") | norm(4) | {"number": np.array([compared])},
    )


def test_a_branch_is_entered_by_the_number_that_it_is_chosen_by() -> None:
    one, other = switched(16_000), switched(16_000)
    assert compare_models(one, other).holds
    assert not compare_models(one, other).notes
    body = next(n for n in other.graph if n.op_type == "If").attributes["then_branch"].as_graph()
    body.initializers["then_branch_b"].const_value = ir.tensor(np.ones(4, np.float32))
    verdict = compare_models(one, other)
    assert verdict.outcome == "fails"


def test_a_branch_that_no_input_enters_is_named() -> None:
    model = switched(16_000)
    node = next(n for n in model.graph if n.op_type == "Equal")
    node.replace_input_with(0, node.inputs[1])  # compared with itself: always true
    verdict = proved(model)
    assert verdict.holds
    assert any("no input enters the else_branch of" in note for note in verdict.notes)


@pytest.mark.parametrize(
    ("tail", "decided"),
    [
        ("y = Relu(p)", False),
        ("s = Shape(p) e = Equal(s, s) t = Where(e, s, s) y = Reshape(p, t)", False),
        ("a = ArgMax<axis = 1>(p) y = Cast<to = 1>(a)", True),
        ("z = Greater(p, p) y = Cast<to = 1>(z)", True),
        ("y = Round(p)", True),
    ],
)
def test_sizes_that_are_compared_decide_nothing(tail: str, decided: bool) -> None:
    assert decides(affine("float[N,6] x", tail)) is decided
