"""A whole model: steps that grow it, and the file that it becomes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper

from tests.random_models import layers, moves
from tests.random_models.bodies import DOMAIN, function, if_, loop, scan
from tests.random_models.constants import FORMS
from tests.random_models.norms import batch_norm, spelled_out
from tests.random_models.scope import BATCH, Scope, Tensor, World

OPSETS = (7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23)
Step = Callable[[Scope, Tensor], Tensor | None]

NORMS: tuple[Step, ...] = (batch_norm, batch_norm, spelled_out, layers.norm_then_layer)
MOVES: tuple[Step, ...] = (
    *(moves.activation, moves.constant, moves.same, moves.pool, moves.pad, moves.resize),
    *(moves.transpose, moves.reshape, moves.unit_axis, moves.slice_, moves.gather, moves.mean),
    *(moves.depth_to_space, moves.flatten),
)
LAYERS: tuple[Step, ...] = (layers.conv, layers.transposed, layers.shared)
BODIES: tuple[Step, ...] = (if_, loop, function)
STEPS: dict[int, tuple[tuple[Step, ...], ...]] = {  # by rank: each group as likely as the others
    2: (NORMS, (layers.gemm, layers.matmul), MOVES[:3], (moves.unit_axis, moves.reshape)),
    3: (NORMS, NORMS, (*LAYERS, layers.matmul, scan), MOVES, BODIES),
    4: (NORMS, NORMS, LAYERS, LAYERS[:1], MOVES, MOVES, BODIES),
    5: (NORMS[:3], MOVES),
}
LARGEST = 1200  # numbers in a tensor


@dataclass(frozen=True)
class RandomModel:
    """A model, and what is known of it.

    Attributes:
        norms: how many batch norms it has as nodes, those of functions as often as they are called.
        inputs: two sets of inputs, which enter both sides of every branch.
        sizes: those with which it runs, of axes that are free.
    """

    proto: onnx.ModelProto
    norms: int
    inputs: list[dict[str, Any]]
    sizes: dict[str, int]


class _Grower:
    """Grows a network from tensors that nobody has read yet."""

    def __init__(self, world: World) -> None:
        old = world.ir_version < 4
        no = {"overridable"} if old or world.seed % 3 else set()  # with it, little can fold
        no |= {"sparse"} if world.seed % 8 else set()  # onnx.checker knows no types of such
        forms = tuple(form for form in FORMS if form not in no)
        self.scope = Scope(world, forms)
        self.rng = world.rng
        size = int(self.rng.integers(4, 7))
        shape = self.scope.pick((BATCH, 3, size, size + 1), (BATCH, 4, size), (BATCH, 6))
        self.source = Tensor("x", shape)
        self.pool = [self.source]
        for _ in range(int(self.rng.integers(4, 14))):
            self._grow()
        if not world.norms:
            self.pool.append(batch_norm(self.scope, self.pool.pop()))

    def _grow(self) -> None:
        index = int(self.rng.integers(len(self.pool)))
        x = self.pool.pop(index)
        if self.scope.chance(0.12) and len(self.pool) < 3:
            self.pool += [replace(x, axis=None)] * 2  # read twice
        elif self.scope.chance(0.2) and self._join(x):
            pass
        elif self.scope.chance(0.08) and (parts := moves.split(self.scope, x)):
            self.pool += parts
        else:
            self.pool.append(self._step(x))

    def _step(self, x: Tensor) -> Tensor:
        groups = STEPS[x.rank]
        step = self.scope.pick(*groups[int(self.rng.integers(len(groups)))])
        y = step(self.scope, x)
        if y is None:
            return x
        if np.prod(y.shape) > LARGEST and y.rank > 2:
            return moves.flatten(self.scope, y) or y
        return y

    def _join(self, x: Tensor) -> bool:
        """Add, subtract or concatenate with another tensor, or two layers of one input."""
        same = [one for one in self.pool if one.shape == x.shape]
        if same:
            other = same[int(self.rng.integers(len(same)))]
            self.pool.remove(other)
        elif x.rank > 2:
            x, other = (layers.same_conv(self.scope, replace(x, axis=None), 4) for _ in range(2))
        else:
            return False
        self.pool.append(_joined(self.scope, x, other))
        return True

    def outputs(self) -> Iterator[Tensor]:
        """Yield what is left, each once, the input not itself."""
        for x in {one.name: one for one in self.pool}.values():
            yield Tensor(self.scope.then("Identity", x), x.shape) if x.name == "x" else x


def _joined(scope: Scope, x: Tensor, other: Tensor) -> Tensor:
    kind = scope.pick("Add", "Sub", "Sum", "Concat", "Max")
    both = x.axis is not None and x.axis == other.axis and x.name != other.name
    axis, positive = (x.axis if both else None), x.positive or other.positive
    if kind == "Concat":
        shape = (x.shape[0], 2 * x.shape[1], *x.shape[2:])
        y = scope.add(kind, [x.name, other.name], axis=1)[0]
        return Tensor(y, shape, axis, positive)
    y = scope.add(kind, [x.name, other.name])[0]
    if kind in ("Sub", "Max") or positive:  # a Sub among spelled-out ones alone is left alone
        axis = None
    return Tensor(y, x.shape, axis, positive)


def random_model(seed: int, dtype: type = np.float32) -> RandomModel:
    """Return a model, the same for the same number, in either type."""
    rng = np.random.default_rng([seed, 1])
    opset = int(rng.choice(OPSETS))
    ir_version = int(rng.choice([3, 4, 7, 8, 9, 10])) if opset < 16 else int(rng.choice([8, 9, 10]))
    world = World(seed, opset, ir_version, dtype, sized=bool(rng.random() < 0.8))
    grower = _Grower(world)
    proto, source = _proto(grower, world), grower.source
    sizes = (
        {} if world.sized else {f"x_{axis}": source.shape[axis] for axis in range(2, source.rank)}
    )
    return RandomModel(proto, world.norms, _inputs(source, seed, dtype), sizes)


def _proto(grower: _Grower, world: World) -> onnx.ModelProto:
    scope, free = grower.scope, world.seed % 2
    constants = scope.constants

    def info(x: Tensor) -> onnx.ValueInfoProto:
        sizes: list[int | str | None] = list(x.shape)
        if not world.sized:
            sizes[2:] = [f"{x.name}_{axis}" for axis in range(2, x.rank)]
        return helper.make_tensor_value_info(
            x.name, world.kind, ["N" if free else BATCH, *sizes[1:]]
        )

    inputs, returned = [info(grower.source)], [info(one) for one in grower.outputs()]
    if any(_reads(node, "flag") for node in scope.nodes):
        inputs.append(helper.make_tensor_value_info("flag", TensorProto.BOOL, []))
    if any(_reads(node, "rate") for node in scope.nodes):
        inputs.append(helper.make_tensor_value_info("rate", TensorProto.INT64, [1]))
    inputs += constants.inputs
    if world.ir_version < 4:
        inputs += [
            helper.make_tensor_value_info(one.name, one.data_type, one.dims)
            for one in constants.initializers
        ]
    graph = helper.make_graph(
        [*constants.nodes, *scope.nodes],
        "random",
        inputs,
        returned,
        constants.initializers,
        sparse_initializer=constants.sparse,
    )
    opsets = [helper.make_opsetid("", world.opset)]
    opsets += [helper.make_opsetid(DOMAIN, 1)] if world.functions else []
    return helper.make_model(
        graph, opset_imports=opsets, functions=world.functions, ir_version=world.ir_version
    )


def _reads(node: onnx.NodeProto, name: str) -> bool:
    bodies = (one.g.node for one in node.attribute if one.type == onnx.AttributeProto.GRAPH)
    return name in node.input or any(_reads(inner, name) for nodes in bodies for inner in nodes)


def _inputs(source: Tensor, seed: int, dtype: type) -> list[dict[str, Any]]:
    rng = np.random.default_rng([seed, 2])
    choices = [(True, 16000), (False, 0)]
    return [
        {
            "x": rng.normal(size=source.shape).astype(np.float32).astype(dtype),
            "flag": np.array(flag),
            "rate": np.array([rate]),
        }
        for flag, rate in choices
    ]
