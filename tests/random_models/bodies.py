"""If, Loop, Scan and functions, with batch norms in their bodies that read what is around them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx
from onnx import TensorProto, helper

from tests.random_models.constants import BODY_FORMS, FUNCTION_FORMS
from tests.random_models.layers import same_conv, weight
from tests.random_models.moves import activation, constant, same
from tests.random_models.norms import batch_norm, spelled_out
from tests.random_models.scope import BATCH, GONE, Scope, Tensor

DOMAIN = "local"


def body(scope: Scope) -> Scope:
    """Return a body; before version 4 of the format it has no initializers of its own."""
    forms = BODY_FORMS if scope.world.ir_version >= 4 else FUNCTION_FORMS
    return Scope(scope.world, forms, outer=scope)


def _some(scope: Scope, x: Tensor, channels: int) -> Tensor:
    """A few layers that keep the sizes, the last of them maybe a batch norm, or a body in it."""
    y = batch_norm(scope, x) if scope.chance(0.2) else x
    y = same_conv(scope, y, channels)
    for _ in range(scope.pick(1, 2)):
        step = scope.pick(batch_norm, batch_norm, spelled_out, same, constant, activation)
        y = step(scope, y)
    if scope.chance(0.15) and scope.outer is not None and scope.outer.outer is None:
        y = if_(scope, y, channels)
    return Tensor(y.name, y.shape)


def if_(scope: Scope, x: Tensor, channels: int | None = None) -> Tensor:
    """One of two branches, chosen by a flag, by a number or by what was computed."""
    channels = channels or scope.pick(2, 3)
    branches = [_graph(_branch(scope, x, channels)) for _ in range(2)]
    (y,) = scope.add("If", [_condition(scope, x)], then_branch=branches[0], else_branch=branches[1])
    return Tensor(y, (x.shape[0], channels, *x.shape[2:]))


def _branch(scope: Scope, x: Tensor, channels: int) -> tuple[Scope, list[Tensor]]:
    inner = body(scope)
    return inner, [_some(inner, Tensor(x.name, x.shape), channels)]


def _condition(scope: Scope, x: Tensor) -> str:
    which = scope.pick("flag", "rate", "sum")
    if which == "flag":
        return "flag"
    if which == "rate":
        number = scope.constant(np.array([16000]), amount=True)
        return scope.add("Equal", ["rate", number])[0]
    total = scope.then("ReduceMax", x, keepdims=0)
    return scope.add("Greater", [total, scope.constant(0.2)])[0]


def loop(scope: Scope, x: Tensor) -> Tensor:
    """A few rounds of layers that keep all sizes."""
    inner = body(scope)
    carried = scope.new_name("carried")
    go = inner.add("Identity", [f"{carried}_go"])[0]
    y = _some(inner, Tensor(carried, x.shape), x.shape[1])
    inputs = [
        helper.make_tensor_value_info(f"{carried}_i", TensorProto.INT64, []),
        helper.make_tensor_value_info(f"{carried}_go", TensorProto.BOOL, []),
        _info(inner, Tensor(carried, x.shape)),
    ]
    graph = _graph((inner, [y]), inputs, [helper.make_tensor_value_info(go, TensorProto.BOOL, [])])
    rounds = scope.constant(np.array(2), amount=True)
    return Tensor(scope.add("Loop", [rounds, "", x.name], body=graph)[0], x.shape)


def scan(scope: Scope, x: Tensor) -> Tensor | None:
    """A dense layer and its batch norm at each place of the last axis."""
    if x.rank != 3 or scope.world.opset < 9:
        return None
    inner = body(scope)
    row = Tensor(scope.new_name("row"), x.shape[:2])
    name = weight(inner, x.shape[1], 3)
    y = Tensor(inner.then("MatMul", row, name), (x.shape[0], 3), 1 if inner.fixed(name) else None)
    y = batch_norm(inner, y)
    graph = _graph((inner, [y]), [_info(inner, row)])
    rows = scope.then("Transpose", x, perm=[2, 0, 1])
    (z,) = scope.add("Scan", [rows], body=graph, num_scan_inputs=1)
    z = scope.add("Transpose", [z], perm=[1, 2, 0])[0]
    return Tensor(z, (x.shape[0], 3, x.shape[2]))


def function(scope: Scope, x: Tensor) -> Tensor | None:
    """A layer and its batch norm as a function, called once or twice, weights given or own."""
    if scope.world.ir_version < 8 or x.rank < 3:
        return None
    inner = Scope(scope.world, FUNCTION_FORMS)
    name = scope.new_name("Block")
    y = _some(inner, Tensor("x", x.shape), x.shape[1])
    norms = sum(node.op_type == "BatchNormalization" for node in inner.nodes)
    opsets = [helper.make_opsetid("", scope.world.opset)]
    nodes = [*inner.constants.nodes, *inner.nodes]
    given = [one for one in nodes if one.op_type == "Constant" and scope.chance(0.3)]
    nodes = [node for node in nodes if node not in given]
    parameters = [node.output[0] for node in given]
    scope.world.functions.append(
        helper.make_function(DOMAIN, name, ["x", *parameters], [y.name], nodes, opsets)
    )
    calls = scope.pick(1, 1, 2)
    scope.world.norms += norms * (calls - 1)
    for _ in range(calls):
        arguments = []
        for node in given:
            copy = onnx.NodeProto()
            copy.CopyFrom(node)
            copy.output[0] = scope.new_name("given")
            scope.constants.nodes.append(copy)
            arguments.append(copy.output[0])
        x = Tensor(scope.then(name, x, *arguments, domain=DOMAIN), x.shape)
    return x


def _graph(
    made: tuple[Scope, Sequence[Tensor]],
    inputs: Sequence[onnx.ValueInfoProto] = (),
    first: Sequence[onnx.ValueInfoProto] = (),
) -> onnx.GraphProto:
    scope, outputs = made
    return helper.make_graph(
        [*scope.constants.nodes, *scope.nodes],
        scope.new_name("body"),
        list(inputs),
        [*first, *(_info(scope, one) for one in outputs)],
        scope.constants.initializers,
    )


def _info(scope: Scope, x: Tensor) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(x.name, scope.world.kind, [None] * x.rank)


__all__ = ["BATCH", "GONE", "function", "if_", "loop", "scan"]
