"""Forms of the format that the reader does not know by itself."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import TensorProto, helper, numpy_helper

from tests.onnx_networks import batch_norms, layer, network, norm, operators, served_error
from training.errors import FoldError
from training.folding.onnx_frontend import fold_model, read_model, write_model
from training.folding.proof import prove_fold

BN = "BatchNormalization({x}, gamma, beta, mean, var)"
SERVED = 2e-5


def saved(tmp_path: Path, proto: onnx.ModelProto) -> ir.Model:
    onnx.save(proto, tmp_path / "model.onnx")
    return read_model(tmp_path / "model.onnx")


def dense(weights: dict[str, np.ndarray]) -> onnx.ModelProto:
    text = f"(float[N,6] x) => (float[] y) {{ p = MatMul(x, w) y = {BN.format(x='p')} }}"
    return ir.to_proto(network(text, weights | norm(5)))


def pruned() -> np.ndarray:
    weights = layer(6, 5)["w"]
    weights[np.abs(weights) < 0.9] = 0
    return weights


def sparse(array: np.ndarray, coordinates: bool) -> onnx.SparseTensorProto:
    places = np.argwhere(array) if coordinates else np.flatnonzero(array)
    return helper.make_sparse_tensor(
        numpy_helper.from_array(array[array != 0], "w"),
        numpy_helper.from_array(places.astype(np.int64), "places"),
        array.shape,
    )


@pytest.mark.parametrize("coordinates", [False, True])
def test_sparse_weights_are_read_as_dense_ones(tmp_path: Path, coordinates: bool) -> None:
    proto = dense({"w": pruned()})
    (place,) = (i for i, one in enumerate(proto.graph.initializer) if one.name == "w")
    del proto.graph.initializer[place]
    proto.graph.sparse_initializer.append(sparse(pruned(), coordinates))
    model = saved(tmp_path, proto)
    folded = fold_model(model)
    assert not batch_norms(folded.model)
    assert served_error(network_of(pruned()), folded.model) < SERVED


def network_of(weights: np.ndarray) -> ir.Model:
    return ir.from_proto(dense({"w": weights}))


def test_a_sparse_constant_is_read_as_a_dense_one(tmp_path: Path) -> None:
    proto = dense({"w": pruned()})
    (place,) = (i for i, one in enumerate(proto.graph.initializer) if one.name == "w")
    del proto.graph.initializer[place]
    constant = helper.make_node("Constant", [], ["w"], sparse_value=sparse(pruned(), True))
    proto.graph.node.insert(0, constant)
    folded = fold_model(saved(tmp_path, proto))
    assert not batch_norms(folded.model)
    assert served_error(network_of(pruned()), folded.model) < SERVED


def test_a_damaged_sparse_tensor_is_named(tmp_path: Path) -> None:
    proto = dense({"w": pruned()})
    proto.graph.sparse_initializer.append(sparse(pruned(), False))
    proto.graph.sparse_initializer[0].dims[:] = [1, 2]
    with pytest.raises(FoldError, match=r"sparse tensor 'w' of shape \(1, 2\) is damaged"):
        saved(tmp_path, proto)


@pytest.mark.parametrize("size", [-1, 0])
def test_sizes_below_one_are_free(tmp_path: Path, size: int) -> None:
    proto = dense(layer(6, 5))
    proto.graph.input[0].type.tensor_type.shape.dim[0].dim_value = size
    model = saved(tmp_path, proto)
    shape = model.graph.inputs[0].shape
    assert shape is not None
    assert not isinstance(shape[0], int)
    assert prove_fold(model, fold_model(model)).holds


def test_a_map_is_refused_with_its_remedy(tmp_path: Path) -> None:
    proto = dense(layer(6, 5))
    kind = helper.make_map_type_proto(
        TensorProto.INT64, helper.make_tensor_type_proto(TensorProto.FLOAT, [])
    )
    sequence = helper.make_sequence_type_proto(kind)
    proto.graph.output.append(helper.make_value_info("labels", sequence))
    with pytest.raises(FoldError, match=r"'labels' is a sequence of maps.*take ZipMap away"):
        saved(tmp_path, proto)


@pytest.mark.parametrize("name", ["", "another"])
@pytest.mark.parametrize("size", [4, 3000])
def test_a_constants_tensor_may_have_any_name(tmp_path: Path, name: str, size: int) -> None:
    proto = dense(layer(6, 5))
    constant = helper.make_node(
        "Constant", [], ["c"], value=numpy_helper.from_array(np.ones(size, np.float32), name)
    )
    total = helper.make_node("ReduceSum", ["c"], ["t"], keepdims=0)
    add = helper.make_node("Add", ["y", "t"], ["z"])
    relu = helper.make_node("Relu", ["z"], ["q"])
    proto.graph.node.extend([constant, total, add, relu])
    proto.graph.output[0].name = "q"
    model = saved(tmp_path, proto)
    folded = fold_model(model)
    write_model(folded.model, tmp_path / "folded.onnx")
    onnx.checker.check_model(tmp_path / "folded.onnx", full_check=True)
    assert prove_fold(model, folded).holds


def test_a_sequence_keeps_its_type() -> None:
    model = network(
        "(float[N,3,8,8] x) => (float[] y) "
        f"{{ c = Conv(x, w) p = {BN.format(x='c')} s = SplitToSequence<axis = 1>(p, two) "
        "y = SequenceAt(s, zero) }",
        layer(4, 3, 3, 3) | norm(4) | {"two": np.array([1, 3]), "zero": np.array(0)},
        opset=18,
    )
    folded = fold_model(model)
    assert operators(folded.model) == ["Conv", "SplitToSequence", "SequenceAt"]
    onnx.checker.check_model(ir.to_proto(folded.model), full_check=True)
    assert prove_fold(model, folded).holds


QUANTIZED = {
    "q": np.arange(-2, 2, dtype=np.int32) * 100,
    "scale": np.float32(0.01),
    "zero": np.int32(0),
}


@pytest.mark.parametrize("opset", [11, 13, 17, 19, 21])
def test_a_quantized_bias_is_a_bias(opset: int) -> None:
    model = network(
        "(float[N,3,8,8] x) => (float[] y) "
        f"{{ b = DequantizeLinear(q, scale, zero) c = Conv(x, w, b) y = {BN.format(x='c')} }}",
        layer(4, 3, 3, 3) | norm(4) | QUANTIZED,
        opset=opset,
    )
    folded = fold_model(model)
    assert not batch_norms(folded.model)
    verdict = prove_fold(model, folded)
    assert verdict.holds
    assert verdict.algebra is not None


def test_a_bias_that_cannot_be_computed_is_no_missing_bias() -> None:
    model = network(
        "(float[N,3,8,8] x) => (float[] y) "
        f"{{ b = GlobalLpPool(q) f = Reshape(b, four) c = Conv(x, w, f) y = {BN.format(x='c')} }}",
        layer(4, 3, 3, 3) | norm(4) | layer(1, 4, 2, 2, name="q") | {"four": np.array([4])},
    )
    folded = fold_model(model)
    assert len(batch_norms(folded.model)) == 1
    assert "cannot be computed" in str(folded.rows[0].reason)


@pytest.mark.parametrize("opset", [13, 19])
def test_quantized_weights_have_the_same_reason_in_every_opset(opset: int) -> None:
    weights = {
        "q": np.random.default_rng(0).integers(-127, 127, (4, 3, 3, 3)).astype(np.int8),
        "scale": np.full(4, 0.01, np.float32),
        "zero": np.zeros(4, np.int8),
    }
    model = network(
        "(float[N,3,8,8] x) => (float[] y) "
        f"{{ w = DequantizeLinear<axis = 0>(q, scale, zero) c = Conv(x, w) p = {BN.format(x='c')} "
        "y = Relu(p) }",
        weights | norm(4),
        opset=opset,
    )
    assert "fold the network before it is quantized" in str(fold_model(model).rows[0].reason)


def test_a_functions_nodes_are_of_its_own_opset(tmp_path: Path) -> None:
    """ReduceSum had its axes as an attribute until opset 12."""
    proto = dense(layer(6, 5))
    proto.graph.node.append(helper.make_node("Total", ["y"], ["z"], domain="local"))
    proto.graph.output[0].name = "z"
    node = helper.make_node("ReduceSum", ["v"], ["t"], axes=[1], keepdims=1)
    imports = [helper.make_opsetid("", 11)]
    proto.functions.append(helper.make_function("local", "Total", ["v"], ["t"], [node], imports))
    proto.opset_import.append(helper.make_opsetid("local", 1))
    assert saved(tmp_path, proto).functions
