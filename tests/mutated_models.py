"""ONNX files that are damaged in one or a few places, from small networks of many kinds."""

from __future__ import annotations

import random
from collections.abc import Callable
from contextlib import suppress

import numpy as np
import onnx
import onnx_ir as ir
from onnx import numpy_helper

from tests.onnx_networks import layer, network, norm

BN = "BatchNormalization({x}, gamma, beta, mean, var)"
SEEDS = (
    (
        "(float[N,3,H,W] x) => (float[N,4,P,Q] y) "
        f"{{ c = Conv<pads = [1, 1, 1, 1]>(x, w, b) p = {BN.format(x='c')} y = Relu(p) }}",
        layer(4, 3, 3, 3) | layer(4, name="b") | norm(4),
    ),
    (
        "(float[N,6] x) => (float[N,4] y) "
        f"{{ g = Gemm<transB = 1>(x, w, b) p = {BN.format(x='g')} y = Softmax<axis = 1>(p) }}",
        layer(4, 6) | layer(4, name="b") | norm(4),
    ),
    (
        "(float[N,5,6] x) => (float[N,5,4] y) { m = MatMul(x, w) a = Add(m, b) "
        f"t = Transpose<perm = [0, 2, 1]>(a) p = {BN.format(x='t')} "
        "y = Transpose<perm = [0, 2, 1]>(p) }",
        layer(6, 4) | layer(4, name="b") | norm(4),
    ),
    (
        "(float[N,4,8,8] x) => (float[N,4,6,6] y) "
        f"{{ p = {BN.format(x='x')} r = Relu(p) c = Conv(r, w) d = Conv(r, v) "
        "s = Add(c, d) k = Concat<axis = 1>(s, s) z = MaxPool<kernel_shape = [1, 1]>(k) "
        "h, y = Split<axis = 1>(z) }",
        layer(4, 4, 3, 3) | layer(4, 4, 3, 3, name="v", seed=1) | norm(4),
    ),
    (
        "(float[N,4,8,8] x, bool u) => (float[N,4,8,8] y) { c = Conv(x, w) "
        f"p = {BN.format(x='c')} y = If(u) <then_branch = g1 () => (float[N,4,8,8] t) "
        "{ t = Relu(p) }, else_branch = g2 () => (float[N,4,8,8] e) { e = Sigmoid(p) }> }",
        layer(4, 4, 1, 1) | norm(4),
    ),
    (
        "(float[N,4,8,8] x) => (float[M,4] y) "
        f"{{ c = ConvTranspose<group = 2>(x, w) p = {BN.format(x='c')} g = GlobalAveragePool(p) "
        "y = Flatten(g) }",
        layer(4, 2, 3, 3) | norm(4),
    ),
)
OPERATORS = ("Relu", "Add", "Conv", "MatMul", "Reshape", "Concat", "Identity", "Pad", "If", "Erf")
Mutation = Callable[[onnx.ModelProto, random.Random], None]


def mutated(seed: int) -> bytes:
    """Return the bytes of a damaged file, the same for the same number."""
    rng = random.Random(seed)
    text, weights = SEEDS[seed % len(SEEDS)]
    proto = ir.to_proto(network(text, weights, opset=rng.choice((11, 13, 17, 18, 21))))
    if seed % 4 == 0:
        return _torn(proto.SerializeToString(), rng)
    for _ in range(rng.randint(1, 3)):
        with suppress(ValueError, TypeError):  # of what an earlier one has damaged
            rng.choice(MUTATIONS)(proto, rng)
    content: bytes = proto.SerializeToString()
    return content


def _torn(content: bytes, rng: random.Random) -> bytes:
    if rng.random() < 0.3:
        return content[: rng.randrange(len(content))]
    torn = bytearray(content)
    for _ in range(rng.randint(1, 8)):
        torn[rng.randrange(len(torn))] = rng.randrange(256)
    return bytes(torn)


def _names(proto: onnx.ModelProto) -> list[str]:
    nodes = [name for node in proto.graph.node for name in (*node.input, *node.output)]
    return [*nodes, *(one.name for one in proto.graph.initializer), "", "nowhere"]


def _rewire(proto: onnx.ModelProto, rng: random.Random) -> None:
    node = rng.choice(proto.graph.node)
    if node.input:
        node.input[rng.randrange(len(node.input))] = rng.choice(_names(proto))


def _rename_output(proto: onnx.ModelProto, rng: random.Random) -> None:
    node = rng.choice(proto.graph.node)
    node.output[rng.randrange(len(node.output))] = rng.choice(_names(proto))


def _drop_node(proto: onnx.ModelProto, rng: random.Random) -> None:
    if len(proto.graph.node) > 1:
        del proto.graph.node[rng.randrange(len(proto.graph.node))]


def _swap_nodes(proto: onnx.ModelProto, rng: random.Random) -> None:
    nodes = list(proto.graph.node)
    rng.shuffle(nodes)
    del proto.graph.node[:]
    proto.graph.node.extend(nodes)


def _repeat_node(proto: onnx.ModelProto, rng: random.Random) -> None:
    proto.graph.node.append(rng.choice(proto.graph.node))


def _change_operator(proto: onnx.ModelProto, rng: random.Random) -> None:
    rng.choice(proto.graph.node).op_type = rng.choice(OPERATORS)


def _change_attribute(proto: onnx.ModelProto, rng: random.Random) -> None:
    node = rng.choice(proto.graph.node)
    name = rng.choice(("pads", "strides", "axis", "group", "epsilon", "perm", "training_mode"))
    value = rng.choice((0, 1, -1, 2, 7, 2**31, [0], [-1, 2], [3, 3, 3, 3], float("nan"), "SAME"))
    kept = [one for one in node.attribute if one.name != name]
    del node.attribute[:]
    node.attribute.extend([*kept, onnx.helper.make_attribute(name, value)])


def _drop_input(proto: onnx.ModelProto, rng: random.Random) -> None:
    node = rng.choice(proto.graph.node)
    if node.input:
        del node.input[rng.randrange(len(node.input))]


def _resize_weights(proto: onnx.ModelProto, rng: random.Random) -> None:
    tensor = rng.choice(proto.graph.initializer)
    shape = [rng.choice((0, 1, 2, 4, 5)) for _ in range(rng.randint(0, 5))]
    tensor.CopyFrom(numpy_helper.from_array(np.ones(shape, np.float32), tensor.name))


def _retype_weights(proto: onnx.ModelProto, rng: random.Random) -> None:
    tensor = rng.choice(proto.graph.initializer)
    array = numpy_helper.to_array(tensor)
    kind = rng.choice((np.float64, np.float16, np.int32, np.int8, np.bool_))
    tensor.CopyFrom(numpy_helper.from_array(array.astype(kind), tensor.name))


def _break_weights(proto: onnx.ModelProto, rng: random.Random) -> None:
    tensor = rng.choice(proto.graph.initializer)
    array = numpy_helper.to_array(tensor).copy()
    if array.dtype.kind == "f" and array.size:
        array.reshape(-1)[rng.randrange(array.size)] = rng.choice((np.nan, np.inf, -1, 0, 1e20))
    tensor.CopyFrom(numpy_helper.from_array(array, tensor.name))


def _shorten_bytes(proto: onnx.ModelProto, rng: random.Random) -> None:
    tensor = rng.choice(proto.graph.initializer)
    tensor.raw_data = tensor.raw_data[: rng.randrange(len(tensor.raw_data) + 1)]


def _drop_weights(proto: onnx.ModelProto, rng: random.Random) -> None:
    del proto.graph.initializer[rng.randrange(len(proto.graph.initializer))]


def _reshape_input(proto: onnx.ModelProto, rng: random.Random) -> None:
    kind = rng.choice([*proto.graph.input, *proto.graph.output]).type.tensor_type
    kind.elem_type = rng.choice((1, 1, 1, 7, 8, 9, 10, 11, 16, 0))
    sizes = [rng.choice((-1, 0, 1, 3, 8, "N", "M")) for _ in range(rng.randint(0, 5))]
    del kind.shape.dim[:]
    for size in sizes:
        if isinstance(size, str):
            kind.shape.dim.add(dim_param=size)
        else:
            kind.shape.dim.add(dim_value=size)


def _change_versions(proto: onnx.ModelProto, rng: random.Random) -> None:
    proto.ir_version = rng.choice((3, 4, 8, 10, 99))
    if proto.opset_import:
        proto.opset_import[0].version = rng.choice((1, 7, 8, 9, 12, 18, 23, 26, 99))


def _weights_as_inputs(proto: onnx.ModelProto, rng: random.Random) -> None:
    for tensor in proto.graph.initializer:
        if rng.random() < 0.5:
            value = onnx.helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims)
            proto.graph.input.append(value)


def _add_output(proto: onnx.ModelProto, rng: random.Random) -> None:
    proto.graph.output.append(onnx.ValueInfoProto(name=rng.choice(_names(proto))))


MUTATIONS: tuple[Mutation, ...] = (
    _rewire,
    _rename_output,
    _drop_node,
    _swap_nodes,
    _repeat_node,
    _change_operator,
    _change_attribute,
    _drop_input,
    _resize_weights,
    _retype_weights,
    _break_weights,
    _shorten_bytes,
    _drop_weights,
    _reshape_input,
    _change_versions,
    _weights_as_inputs,
    _add_output,
)
