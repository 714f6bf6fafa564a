"""The graph that a node is in, and what its attributes and shapes say."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import onnx_ir as ir
from numpy.typing import NDArray

from training.folding.algebra.affine import FoldRefused
from training.folding.onnx_frontend.constants import Constants


@dataclass(frozen=True)
class Context:
    """The graph that a node is in, and its constants."""

    graph: ir.Graph
    constants: Constants

    def constant(self, node: ir.Node, index: int) -> NDArray[Any] | None:
        """Return an input of a node, None where it has none there.

        Raises:
            FoldRefused: it is there, but no constant, or cannot be computed.
        """
        value = node.inputs[index] if index < len(node.inputs) else None
        if value is None:
            return None
        if not self.constants.holds(value):
            raise FoldRefused(f"{value.name} is no constant")
        return self.constants.array(value)

    def known(self, node: ir.Node, index: int) -> NDArray[Any] | None:
        """Return an input of a node where it is known; only for what holds for any other too."""
        try:
            return self.constant(node, index)
        except FoldRefused:
            return None


def attribute(node: ir.Node, name: str, default: Any) -> Any:
    """Return an attribute of a node, or what it is where the node states none."""
    stated = node.attributes.get(name)
    return default if stated is None else stated.value


def text(node: ir.Node, name: str, default: str) -> str:
    """Return an attribute that is a text."""
    value = attribute(node, name, default)
    return value.decode() if isinstance(value, bytes) else str(value)


def rank_of(value: ir.Value | None) -> int | None:
    """Return the number of axes, None where it is not known."""
    return None if value is None or value.shape is None else len(value.shape)


def size_of(value: ir.Value | None, axis: int) -> int | None:
    """Return the size of an axis, None where it is free or not known."""
    if value is None or value.shape is None or axis >= len(value.shape):
        return None
    size = value.shape[axis]
    return size if isinstance(size, int) else None


def is_used(value: ir.Value) -> bool:
    """Whether anybody reads a tensor, or the network returns it."""
    return bool(value.uses()) or value.is_graph_output()
