"""What folding sees of a network: values, and nodes that are one of a few operations.

Both front ends, `onnx_frontend` and `torch_frontend`, build such a graph from theirs, let the
planner work on it, and carry the result back: which nodes became the identity (`bypassed`), which
are gone (`removed`), which are copies (`clone_of`), which weights changed, which sums have fewer
inputs, and what was put in between (`BorderPad`). The rules know nothing of torch or ONNX.

Each value of the result keeps its `original_name`: that of the value of the original network whose
numbers it carries. A proof compares the two, layer by layer.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from training.folding.algebra.affine import ChannelMap
from training.folding.algebra.layout import Layout
from training.folding.algebra.linear_map import LinearMap


@dataclass(frozen=True, eq=False)
class Norm:
    """A batch norm of the original network."""

    name: str
    channels: int


@dataclass(eq=False)
class Affine:
    """A map per channel on one axis: a batch norm, or constants that do the same.

    Attributes:
        axis: of the channels, counted from the front.
        map: what it does.
        norms: the batch norms that it is made of; none for constants.
        locked: why it must stay, None where it may go.
        changed: whether `map` has taken up others and is no longer what the layer does.
    """

    axis: int
    map: ChannelMap
    norms: tuple[Norm, ...] = ()
    locked: str | None = None
    changed: bool = False


@dataclass(eq=False)
class KeptNorm:
    """A batch norm that is no map per channel, or not one to touch."""

    norm: Norm
    reason: str


@dataclass(eq=False)
class Linear:
    """A convolution, a transposed convolution or a dense layer."""

    map: LinearMap


@dataclass(eq=False)
class Same:
    """Passes its input on: identity, dropout in inference mode."""


@dataclass(eq=False)
class Maximum:
    """Each output is the largest of some inputs of its own channel: max pooling."""


@dataclass(eq=False)
class Average:
    """Each output is a mean of inputs of its own channel: average pooling, interpolation.

    Attributes:
        attenuates: whether the weights of some outputs do not sum to 1, as where zeros of the
            padding are counted.
    """

    attenuates: bool = False


@dataclass(eq=False)
class Pad:
    """Pads the axes after the channels.

    Attributes:
        value: the constant, None where border values are repeated, mirrored or wrapped.
        padding: (before, after) for each axis after the channels, None where it is not known.
        dtype: of the values, None for float32.
    """

    value: float | None
    padding: tuple[tuple[int, int], ...] | None = None
    dtype: np.dtype | None = None


@dataclass(eq=False)
class Rearrange:
    """Only moves numbers: reshaping, transposing, splitting, slicing and the like.

    Attributes:
        layouts: where the numbers of each output come from.
    """

    layouts: tuple[Layout, ...]


@dataclass(eq=False)
class Offset:
    """Adds a constant that varies along several axes.

    Attributes:
        values: float64, of as many axes as the input; some of size 1, along which they repeat.
        dtype: in which the values are kept.
        changed: whether the values are others than they were.
    """

    values: NDArray[np.float64]
    dtype: np.dtype
    changed: bool = False


@dataclass(eq=False)
class Sum:
    """Adds its inputs, all of one rank; axes of size 1 may broadcast."""


@dataclass(eq=False)
class Concat:
    """Puts its inputs side by side.

    Attributes:
        axis: counted from the front.
    """

    axis: int


@dataclass(eq=False)
class Opaque:
    """Anything else.

    Attributes:
        kind: what users call it, as `Relu`.
        reason: why nothing goes into it or past it.
    """

    kind: str
    reason: str = "which is not linear"


@dataclass(eq=False)
class BorderPad:
    """Pads with one number for each channel.

    That is what zero padding becomes when a map is folded past it: a node that is put before a
    layer which pads by itself, or that takes the place of a `Pad`.

    Attributes:
        padding: (before, after) for each axis after the channels.
        values: (C,) float64; (1,) where it is the same for any number of channels.
    """

    padding: tuple[tuple[int, int], ...]
    values: NDArray[np.float64]


Operation = (
    Affine
    | KeptNorm
    | Linear
    | Same
    | Maximum
    | Average
    | Pad
    | Rearrange
    | Offset
    | Sum
    | Concat
    | Opaque
    | BorderPad
)


@dataclass(eq=False)
class Value:
    """A tensor of the network.

    Attributes:
        shape: sizes, None for an unknown one; None where not even the rank is known.
        producer: the node whose output it is, None for an input of the network or a constant.
        consumers: the nodes that read it, one entry for each use.
        is_output: whether the network returns it, or something outside of the graph reads it.
        original_name: of the original value with the same numbers, None where there is none.
    """

    name: str
    shape: tuple[int | None, ...] | None
    producer: Node | None = None
    consumers: list[Node] = field(default_factory=list)
    is_output: bool = False
    original_name: str | None = None

    def size(self, axis: int) -> int | None:
        """Return the size of one axis, None where it is not known."""
        return self.shape[axis] if self.shape is not None and axis < len(self.shape) else None

    @property
    def rank(self) -> int | None:
        """Number of axes, None where it is not known."""
        return None if self.shape is None else len(self.shape)


@dataclass(eq=False)
class Node:
    """One operation on values; weights are part of the operation.

    Attributes:
        inputs: those that the operation works on.
        outputs: at least one; the first is what the operation says.
        clone_of: the node that this one is a private copy of.
    """

    name: str
    operation: Operation
    inputs: list[Value]
    outputs: list[Value]
    clone_of: Node | None = None

    @property
    def output(self) -> Value:
        """The first output."""
        return self.outputs[0]


@dataclass(eq=False)
class Graph:
    """Nodes in an order in which they can be computed.

    Attributes:
        bypassed: nodes that became the identity, in the order in which they did.
        removed: nodes that nobody needs any more.
        merged: layers that became one with another of the same input: the one that stays, and the
            one that is gone.
        clones: whether private copies of layers and weights may be made.
    """

    nodes: list[Node] = field(default_factory=list)
    bypassed: list[Node] = field(default_factory=list)
    removed: list[Node] = field(default_factory=list)
    merged: list[tuple[Node, Node]] = field(default_factory=list)
    clones: bool = False
    _names: set[str] = field(default_factory=set, repr=False)

    def add(self, node: Node) -> Node:
        """Append a node and note it with its values."""
        self.nodes.append(node)
        self._names.add(node.name)
        for value in node.inputs:
            value.consumers.append(node)
            self._names.add(value.name)
        for value in node.outputs:
            value.producer = node
            value.original_name = value.name
            self._names.add(value.name)
        return node

    def affines(self) -> list[Node]:
        """Return the nodes that are maps per channel."""
        return [node for node in self.nodes if isinstance(node.operation, Affine)]

    def bypass(self, node: Node) -> None:
        """Let a node with one input and one output pass its input on."""
        (source,) = node.inputs
        self.nodes.remove(node)
        self.bypassed.append(node)
        source.consumers.remove(node)
        for consumer in node.output.consumers:
            consumer.inputs = [source if one is node.output else one for one in consumer.inputs]
            source.consumers.append(consumer)
        node.output.consumers = []
        node.output.original_name = None
        source.is_output |= node.output.is_output

    def clone(self, node: Node, consumer: Node) -> Node:
        """Give the first use of a layer by one consumer a copy of its own; return the copy."""
        assert isinstance(node.operation, Linear), "only layers are copied"
        name = self._free_name(f"{node.name}_copy")
        output = Value(name, node.output.shape)
        copy = Node(name, Linear(node.operation.map.private_copy()), [], [output], node)
        copy.inputs = list(node.inputs)
        self.nodes.insert(self.nodes.index(node) + 1, copy)
        for value in copy.inputs:
            value.consumers.append(copy)
        output.producer = copy
        self._redirect(node.output, consumer, output)
        return copy

    def drop_input(self, node: Node, value: Value) -> None:
        """Let a sum do without one of its inputs; what only served that input goes as well."""
        node.inputs.remove(value)
        value.consumers.remove(node)
        if value.producer is not None:
            self.remove_unused(value.producer)
        if len(node.inputs) == 1:
            (source,) = node.inputs
            source.original_name = node.output.original_name
            self.bypass(node)

    def remove_unused(self, node: Node) -> None:
        """Remove a node whose outputs nobody reads, and those that only served it."""
        pending = [node]
        while pending:
            unused = pending.pop()
            read = any(value.consumers or value.is_output for value in unused.outputs)
            if read or unused in self.removed:
                continue
            self.nodes.remove(unused)
            self.removed.append(unused)
            for value in unused.outputs:
                value.original_name = None
            for value in unused.inputs:
                value.consumers.remove(unused)
            producers = dict.fromkeys(value.producer for value in unused.inputs)
            pending += [producer for producer in producers if producer is not None]

    def insert_before(self, node: Node, operation: BorderPad) -> Node:
        """Put a new node between another one and its only input; return it."""
        (source,) = node.inputs
        name = self._free_name(f"{node.name}_border")
        output = Value(name, None if source.shape is None else _padded(source.shape, operation))
        new = Node(name, operation, [source], [output])
        self.nodes.insert(self.nodes.index(node), new)
        source.consumers.append(new)
        output.producer = new
        self._redirect(source, node, output)
        return new

    def _redirect(self, value: Value, consumer: Node, to: Value) -> None:
        """Let the first use of a value by one consumer be of another value."""
        place = next(place for place, one in enumerate(consumer.inputs) if one is value)
        consumer.inputs[place] = to
        value.consumers.remove(consumer)
        to.consumers.append(consumer)

    def _free_name(self, stem: str) -> str:
        """Return the stem, with a number where it is taken by a node or a value."""
        numbered = (f"{stem}_{number}" for number in itertools.count(2))
        name = next(name for name in itertools.chain([stem], numbered) if name not in self._names)
        self._names.add(name)
        return name


def _padded(shape: tuple[int | None, ...], pad: BorderPad) -> tuple[int | None, ...]:
    """Return the sizes with a border; the first two axes have none."""
    sizes = zip(shape[2:], pad.padding, strict=True)
    return shape[:2] + tuple(None if n is None else n + sum(border) for n, border in sizes)
