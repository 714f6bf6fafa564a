"""Builds the graphs that folding works on, and computes what they return in float64."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch.nn import functional

from training.folding.algebra.affine import ChannelMap
from training.folding.algebra.layout import Layout, cut, permuted
from training.folding.algebra.linear_map import LinearMap
from training.folding.algebra.reshaping import reshaped
from training.folding.engine.graph import (
    Affine,
    Average,
    BorderPad,
    Concat,
    Graph,
    KeptNorm,
    Linear,
    Maximum,
    Node,
    Norm,
    Offset,
    Opaque,
    Pad,
    Rearrange,
    Same,
    Sum,
    Value,
)
from training.folding.engine.planner import fold

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from training.folding.engine.graph import Operation
    from training.folding.engine.report_row import Row

    Arrays = dict[Value, NDArray[np.float64]]

BATCH = 2
FLOAT64 = np.dtype(np.float64)
_CONV = {1: functional.conv1d, 2: functional.conv2d, 3: functional.conv3d}
_TRANSPOSED = {
    1: functional.conv_transpose1d,
    2: functional.conv_transpose2d,
    3: functional.conv_transpose3d,
}


class Builder:
    """A graph in the making; every method adds a node and returns its output."""

    def __init__(self, seed: int = 0) -> None:
        self.rng = np.random.default_rng(seed)
        self.graph = Graph()
        self.sources: list[Value] = []
        self._numbers = itertools.count(1)

    def source(self, *sizes: int) -> Value:
        value = Value(f"x{next(self._numbers)}", (BATCH, *sizes))
        self.sources.append(value)
        return value

    def node(self, operation: Operation, *inputs: Value, name: str | None = None) -> Value:
        name = name or f"{type(operation).__name__.lower()}{next(self._numbers)}"
        shape = _shape_of(operation, inputs)
        node = Node(name, operation, list(inputs), [Value(f"{name}:0", shape)])
        return self.graph.add(node).output

    def norm(
        self, x: Value, map_: ChannelMap | None = None, *, axis: int = 1, name: str | None = None
    ) -> Value:
        name = name or f"bn{next(self._numbers)}"
        size = x.shape[axis]
        map_ = self.map(size) if map_ is None else map_
        return self.node(Affine(axis, map_, (Norm(name, size),)), x, name=name)

    def constant(self, x: Value, scale: object, shift: object, axis: int = 1) -> Value:
        scale, shift = (np.atleast_1d(np.asarray(one, float)) for one in (scale, shift))
        return self.node(Affine(axis, ChannelMap(*np.broadcast_arrays(scale, shift))), x)

    def conv(self, x: Value, channels: int, kernel: int = 3, **settings: object) -> Value:
        axes = len(x.shape) - 2
        groups = settings.get("groups", 1)
        shape = (channels, x.shape[1] // groups, *(kernel,) * axes)
        pad = settings.pop("pad", 0)
        settings = {"strides": (1,) * axes, "dilations": (1,) * axes} | settings
        padding = ((pad, pad),) * axes
        return self.linear(
            x,
            "conv",
            shape,
            padding=padding,
            pads=pad > 0,
            name=settings.pop("name", None),
            **settings,
        )

    def transposed(self, x: Value, channels: int, kernel: int = 2, groups: int = 1) -> Value:
        axes = len(x.shape) - 2
        shape = (x.shape[1], channels // groups, *(kernel,) * axes)
        ones = (1,) * axes
        return self.linear(
            x,
            "conv_transpose",
            shape,
            groups=groups,
            strides=ones,
            dilations=ones,
            padding=((0, 0),) * axes,
        )

    def dense(self, x: Value, features: int, **settings: object) -> Value:
        return self.linear(x, "dense", (features, x.shape[-1]), **settings)

    def linear(
        self,
        x: Value,
        kind: str,
        shape: tuple[int, ...],
        *,
        bias: bool = True,
        name: str | None = None,
        **settings: object,
    ) -> Value:
        weight = self.rng.normal(size=shape)
        layer = LinearMap(kind, lambda: weight, FLOAT64, shape, **settings)
        layer.bias = self.rng.normal(size=layer.channels_out) if bias else None
        return self.node(Linear(layer), x, name=name)

    def moved(
        self, x: Value, layouts: tuple[Layout, ...], compute: Callable[..., list], **names: str
    ) -> list[Value]:
        """A node that moves numbers as numpy does in `compute`, which returns each output."""
        operation = Rearrange(layouts)
        operation.compute = compute
        name = names.get("name") or f"rearrange{next(self._numbers)}"
        arrays = enumerate(compute(np.zeros(x.shape)))
        outputs = [Value(f"{name}:{place}", array.shape) for place, array in arrays]
        return self.graph.add(Node(name, operation, [x], outputs)).outputs

    def reshape(self, x: Value, *sizes: int, **names: str) -> Value:
        """The batch is free, as it is in a network."""
        layout = reshaped(("N", *x.shape[1:]), ("N", *sizes[1:]))
        (value,) = self.moved(x, (layout,), lambda array: [array.reshape(sizes)], **names)
        return value

    def flatten(self, x: Value, **names: str) -> Value:
        return self.reshape(x, BATCH, int(np.prod(x.shape[1:])), **names)

    def transpose(self, x: Value, *order: int) -> Value:
        layout = permuted(x.shape, order)
        (value,) = self.moved(x, (layout,), lambda array: [array.transpose(order)])
        return value

    def take(self, x: Value, axis: int, *places: list[int]) -> list[Value]:
        """One output for each list of places."""
        layouts = tuple(cut(x.shape, {axis: np.array(one, np.intp)}) for one in places)
        return self.moved(x, layouts, lambda array: [array.take(one, axis) for one in places])

    def map(self, channels: int) -> ChannelMap:
        scale = self.rng.uniform(0.3, 2, channels) * self.rng.choice([-1, 1], channels)
        return ChannelMap(scale, self.rng.normal(size=channels))

    def relu(self, x: Value) -> Value:
        return self.node(Opaque("Relu"), x)

    def done(self) -> Graph:
        """Return the graph; what nobody reads is an output."""
        for node in self.graph.nodes:
            for value in node.outputs:
                value.is_output |= not value.consumers
        return self.graph


def random_inputs(sources: list[Value], seed: int = 0) -> Arrays:
    rng = np.random.default_rng(seed)
    return {source: rng.normal(size=source.shape) for source in sources}


def computed(graph: Graph, inputs: Arrays) -> Arrays:
    """Return the numbers of every value of a graph."""
    arrays = dict(inputs)
    for node in graph.nodes:
        operands = [arrays[value] for value in node.inputs]
        if isinstance(node.operation, Rearrange):
            arrays |= zip(node.outputs, node.operation.compute(operands[0]), strict=True)
        else:
            arrays[node.output] = _compute(node.operation, operands)
    return arrays


def carrier(graph: Graph, value: Value) -> Value:
    """Return the value that stands for one whose node may have become the identity."""
    while value.producer is not None and value.producer in graph.bypassed:
        (value,) = value.producer.inputs
    return value


def _shape_of(operation: Operation, inputs: tuple[Value, ...]) -> tuple[int, ...] | None:
    """Return the shape by computing it on zeros."""
    if any(value.shape is None for value in inputs):
        return None
    return _compute(operation, [np.zeros(value.shape) for value in inputs]).shape


def _compute(operation: Operation, operands: list[NDArray[np.float64]]) -> NDArray[np.float64]:
    x = operands[0]
    match operation:
        case Affine():
            return _affine(x, operation)
        case Linear():
            return _linear(x, operation.map)
        case Maximum():
            return _windows(x, 2).max(axis=-1)
        case Average():
            return _average(x, attenuates=operation.attenuates)
        case Pad():
            padding = [(0, 0), (0, 0), *operation.padding]
            if operation.value is None:
                return np.pad(x, padding, mode="edge")
            return np.pad(x, padding, constant_values=operation.value)
        case BorderPad():
            return _border(x, operation)
        case Offset():
            return x + operation.values
        case Sum():
            return sum(operands[1:], start=x)
        case Concat():
            return np.concatenate(operands, axis=operation.axis)
        case Same():
            return x
        case KeptNorm():
            return x - x.mean(axis=0)
        case Opaque():
            return np.maximum(sum(operands), 0)
    raise AssertionError(operation)


def _affine(x: NDArray[np.float64], operation: Affine) -> NDArray[np.float64]:
    shape = [1] * x.ndim
    shape[operation.axis] = -1
    return x * operation.map.scale.reshape(shape) + operation.map.shift.reshape(shape)


def _linear(x: NDArray[np.float64], layer: LinearMap) -> NDArray[np.float64]:
    weight = torch.from_numpy(layer.weight())
    bias = None if layer.bias is None else torch.from_numpy(np.array(layer.bias))
    if layer.kind == "dense":
        return functional.linear(torch.from_numpy(x), weight, bias).numpy()
    function = (_CONV if layer.kind == "conv" else _TRANSPOSED)[x.ndim - 2]
    padded = torch.from_numpy(np.pad(x, [(0, 0), (0, 0), *layer.padding]))
    return function(
        padded, weight, bias, layer.strides, groups=layer.groups, dilation=layer.dilations
    ).numpy()


def _windows(x: NDArray[np.float64], size: int) -> NDArray[np.float64]:
    """Return the windows of the last axis, (..., places, size)."""
    return np.lib.stride_tricks.sliding_window_view(x, size, axis=-1)


def _average(x: NDArray[np.float64], *, attenuates: bool) -> NDArray[np.float64]:
    if attenuates:
        x = np.pad(x, [(0, 0)] * (x.ndim - 1) + [(1, 1)])
    return _windows(x, 3).mean(axis=-1)


def _border(x: NDArray[np.float64], operation: BorderPad) -> NDArray[np.float64]:
    padding = [(0, 0), (0, 0), *operation.padding]
    inside = np.pad(np.ones_like(x[:1, :1]), padding)
    values = operation.values.reshape(1, -1, *(1,) * (x.ndim - 2))
    return np.pad(x, padding) + values * (1 - inside)


def difference(
    build: Builder, spoil: Callable[[Graph], None] | None = None
) -> tuple[list[Row], float]:
    """Fold a graph; return the rows and the largest difference of outputs and named values.

    Args:
        build: with the graph.
        spoil: changes the folded graph before it is computed, as a negative control.
    """
    graph = build.done()
    inputs = random_inputs(build.sources)
    before = computed(graph, inputs)
    outputs = [value for value in before if value.is_output]
    rows = fold(graph)
    if spoil is not None:
        spoil(graph)
    after = computed(graph, inputs)
    by_name = {value.name: array for value, array in before.items()}
    pairs = [(before[value], after[carrier(graph, value)]) for value in outputs]
    pairs += [
        (by_name[value.original_name], array)
        for value, array in after.items()
        if value.original_name is not None
    ]
    return rows, max(float(np.abs(left - right).max(initial=0)) for left, right in pairs)
