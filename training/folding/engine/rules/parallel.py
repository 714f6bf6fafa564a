"""Parallel layers: branches of one input that a sum joins again, as in RepVGG.

    (W x + b) + (s x + t)     = (W + diag s) x + (b + t)
    (W x + b) + (V x + c)     = (W + V) x + (b + c)
    s ((W x + b) + x) + t     = s ((W + 1) x + b) + t

For a convolution diag(s) stands at the kernel position that reads the input where the output is:
its centre, if the stride is 1 and the padding is half of the kernel. Likewise a smaller kernel
stands in a larger one where it reads the same places, and is zero around.

Reference:
    Ding et al. 2021, arXiv:2101.03697, section 3.3.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from training.folding.algebra.affine import ChannelMap, FoldRefused
from training.folding.algebra.linear_map import LinearMap
from training.folding.engine.graph import Affine, Graph, Node, Sum, Value
from training.folding.engine.rules.linear import check_on_axis, free_layer
from training.folding.engine.sum_tree import (
    Branch,
    branches_of,
    continues,
    is_private,
    layer_on,
    root_of,
)

PATTERN = "linear + bn"


@dataclass(frozen=True, eq=False)
class Summed:
    """Reads the weights of a layer and lets others add theirs, each time anew: they are large."""

    layer: LinearMap
    terms: tuple[Callable[[NDArray[np.float64]], None], ...]

    def __call__(self) -> NDArray[np.float64]:
        """Return the sum, in float64."""
        weight = self.layer.weight()
        for add in self.terms:
            add(weight)
        return weight


@dataclass(frozen=True, eq=False)
class Sibling:
    """A layer that can take up a parallel map.

    Attributes:
        branch: the layer's own.
        other: that of the map.
        read_weight, bias: of the layer once it has.
    """

    branch: Branch
    other: Branch
    read_weight: Callable[[], NDArray[np.float64]]
    bias: NDArray[np.float64]

    @property
    def node(self) -> Node:
        """The layer."""
        assert self.branch.value.producer is not None, "a layer's output has a producer"
        return self.branch.value.producer


def sibling_of(origin: Node, graph: Graph) -> Sibling | None:
    """Return the parallel layer that can take up a map, None where there is no parallel layer.

    Raises:
        FoldRefused: there is one, but it would not be exact; the message is the reason.
    """
    operation = origin.operation
    assert isinstance(operation, Affine), "only maps move"
    branches = list(branches_of(root_of(origin.output)))
    own = next((one for one in branches if one.value is origin.output), None)
    refusal: FoldRefused | None = None
    for branch in branches if own is not None else []:
        node = layer_on(branch, origin.inputs[0])
        if node is None or own is None:
            continue
        try:
            layer = free_layer(node, graph)
            if operation.map.scale.size > 1:
                check_on_axis(node, layer, origin.output.rank, operation.axis)
            return Sibling(branch, own, *_with_identity(node.name, layer, operation.map))
        except FoldRefused as reason:
            refusal = reason
    if refusal is not None:
        raise refusal
    return None


def absorb(sibling: Sibling, graph: Graph) -> None:
    """Put the map into the parallel layer, and let the sum do without its branch."""
    free_layer(sibling.node, graph).replace(sibling.read_weight, sibling.bias)
    _join(sibling.branch, sibling.other, graph)


def take_in_identities(norm: Node, graph: Graph) -> bool:
    """Put what a sum before a batch norm adds as it is into layers parallel to it.

    Only where the batch norm can go then: every branch is a layer that may take it up, or read by
    one. Return whether there was anything.
    """
    operation, root = norm.operation, norm.inputs[0].producer
    assert isinstance(operation, Affine), "a batch norm is one"
    if root is None or not isinstance(root.operation, Sum) or not is_private(root.output):
        return False
    try:
        bare = _identities(norm, operation, root, graph)
        siblings = [_sibling_with_identity(one, root, graph) for one in bare]
    except FoldRefused:
        return False
    if None in siblings:
        return False
    for one in bare:
        sibling = _sibling_with_identity(one, root, graph)  # anew: it may have another already
        assert sibling is not None, "checked before"
        name = one.value.original_name
        absorb(sibling, graph)
        one.value.original_name = name  # others read it, and its numbers stay
    return bool(bare)


def _identities(norm: Node, operation: Affine, root: Node, graph: Graph) -> list[Branch]:
    """Return the branches of a sum that are no layers of their own.

    Raises:
        FoldRefused: a layer among the others takes no map.
    """
    branches = list(branches_of(root))
    for node in (layer_on(branch, None) for branch in branches):
        if node is not None:
            layer = free_layer(node, graph)
            check_on_axis(node, layer, norm.output.rank, operation.axis)
            layer.check_backward(operation.map)
    return [branch for branch in branches if layer_on(branch, None) is None]


def _sibling_with_identity(bare: Branch, root: Node, graph: Graph) -> Sibling | None:
    """Return the first layer on what a branch adds as it is that can take it up.

    Raises:
        FoldRefused: none of those that there are can.
    """
    refusal: FoldRefused | None = None
    identity = ChannelMap(np.ones(1), np.zeros(1))
    for branch in branches_of(root):
        node = layer_on(branch, bare.value)
        if node is None:
            continue
        try:
            layer = free_layer(node, graph)
            return Sibling(branch, bare, *_with_identity(node.name, layer, identity))
        except FoldRefused as reason:
            refusal = reason
    if refusal is not None:
        raise refusal
    return None


def merge_layers(graph: Graph) -> None:
    """Make one of layers that read the same tensor and whose outputs are only added."""
    for node in [one for one in graph.nodes if isinstance(one.operation, Sum)]:
        if not continues(node):
            while _merge_two(node, graph):
                pass


def _merge_two(root: Node, graph: Graph) -> bool:
    """Merge the first two layers that can be; return whether there were any."""
    layers = [branch for branch in branches_of(root) if layer_on(branch, None) is not None]
    by_input: dict[Value, list[Branch]] = {}
    for branch in layers:
        assert branch.value.producer is not None, "a layer's output has a producer"
        by_input.setdefault(branch.value.producer.inputs[0], []).append(branch)
    for group in by_input.values():
        for kept, other in itertools.permutations(group, 2):
            if _merge(kept, other, graph):
                return True
    return False


def _merge(kept: Branch, other: Branch, graph: Graph) -> bool:
    node, gone = kept.value.producer, other.value.producer
    assert node is not None, "a layer's output has a producer"
    assert gone is not None, "a layer's output has a producer"
    try:
        large, small = free_layer(node, graph), free_layer(gone, graph)
        weight = _plus(large, _adding(small.private_copy(), _places(large, small)))
        bias = large.bias if small.bias is None else _bias(large) + small.bias
        large.check_weight(weight)
        large.check_bias(_bias(large) if bias is None else bias)
    except FoldRefused:
        return False
    large.replace(weight, bias)
    graph.merged.append((node, gone))
    _join(kept, other, graph)
    return True


def _join(kept: Branch, other: Branch, graph: Graph) -> None:
    """Take away the other branch; sums on the way to where both meet now hold other numbers."""
    meeting = next(node for node in kept.sums if node in other.sums)
    for branch in (kept, other):
        branch.value.original_name = None
        for node in itertools.takewhile(lambda one: one is not meeting, branch.sums):
            node.output.original_name = None
    graph.drop_input(other.sums[0], other.value)


def _bias(layer: LinearMap) -> NDArray[np.float64]:
    return np.zeros(layer.channels_out) if layer.bias is None else layer.bias


def _with_identity(
    name: str, layer: LinearMap, map_: ChannelMap
) -> tuple[Callable[[], NDArray[np.float64]], NDArray[np.float64]]:
    """Return the weights and the bias of a layer with a map added to it.

    Raises:
        FoldRefused: no place of the kernel reads the input where the output is.
    """
    centre = _centre(name, layer)
    channels = layer.channels_out
    if layer.channels_in != channels:
        raise FoldRefused(
            f"{name}, parallel to it, turns {layer.channels_in} channels into {channels}"
        )
    whole = map_.broadcast(channels)

    def add(weight: NDArray[np.float64]) -> None:
        # diag(s): axis 1 holds the input channels of the output's own group
        outputs = np.arange(channels)
        place: tuple[slice | int, ...] = (slice(None), slice(None), *centre)
        weight[place][outputs, outputs % weight.shape[1]] += whole.scale

    read_weight, bias = _plus(layer, add), _bias(layer) + whole.shift
    layer.check_weight(read_weight)
    layer.check_bias(bias)
    return read_weight, bias


def _centre(name: str, layer: LinearMap) -> tuple[int, ...]:
    """Return the kernel position that reads the input where the output is.

    Raises:
        FoldRefused: there is none.
    """
    kernel = layer.weight_shape[2:]
    if layer.kind == "conv_transpose":
        raise FoldRefused(f"{name}, parallel to it, is a transposed convolution")
    if layer.kind == "dense":
        return ()
    if layer.strides != (1,) * len(kernel):
        raise FoldRefused(f"{name}, parallel to it, has strides {layer.strides}, not 1")
    if layer.padding is None:
        raise FoldRefused(
            f"{name}, parallel to it, pads by an amount that depends on the input's size"
        )
    centre = tuple(size // 2 for size in kernel)
    half = tuple((d * c, d * c) for d, c in zip(layer.dilations, centre, strict=True))
    if layer.padding != half or any(size % 2 == 0 for size in kernel):
        raise FoldRefused(
            f"{name}, parallel to it, has a kernel {kernel} whose centre is not where the output is"
        )
    return centre


def _places(large: LinearMap, small: LinearMap) -> tuple[slice, ...]:
    """Return where in the larger kernel the smaller one reads the same places.

    Raises:
        FoldRefused: it does not, or the layers differ in something else.
    """
    kinds = [
        (one.kind, one.dtype, one.groups, one.strides, one.weight_shape[:2])
        for one in (large, small)
    ]
    if kinds[0] != kinds[1] or large.kind == "conv_transpose":
        raise FoldRefused("they are layers of different kinds")
    if large.kind == "dense":
        return ()
    if large.padding is None or small.padding is None:
        raise FoldRefused("one pads by an amount that depends on the input's size")
    if np.any(small.padding) and not (large.pads and small.pads):
        raise FoldRefused("they may pad with different values")
    return tuple(_place(large, small, axis) for axis in range(len(large.padding)))


def _place(large: LinearMap, small: LinearMap, axis: int) -> slice:
    assert large.padding is not None, "checked before"
    assert small.padding is not None, "checked before"
    sizes = [one.weight_shape[2 + axis] for one in (large, small)]
    dilation = large.dilations[axis]
    if sizes[1] > 1 and small.dilations[axis] != dilation:
        raise FoldRefused("they have different dilations")
    before, after = (
        one - other for one, other in zip(large.padding[axis], small.padding[axis], strict=True)
    )
    first, rest = divmod(before, dilation)
    room = sizes[0] - sizes[1] - first
    if rest or first < 0 or room < 0 or after != dilation * room:
        raise FoldRefused("they read different places")
    return slice(first, first + sizes[1])


def _plus(layer: LinearMap, add: Callable[[NDArray[np.float64]], None]) -> Summed:
    """Return the weights of a layer with something added; sums of sums stay flat."""
    read = layer.read_weight
    if isinstance(read, Summed) and not layer.is_scaled:
        return Summed(read.layer, (*read.terms, add))
    return Summed(layer.private_copy(), (add,))


def _adding(small: LinearMap, places: tuple[slice, ...]) -> Callable[[NDArray[np.float64]], None]:
    def add(weight: NDArray[np.float64]) -> None:
        weight[:, :, *places] += small.weight()

    return add
