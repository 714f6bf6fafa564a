"""Which bodies of control flow a model enters: every branch and loop leaves a mark.

Each body returns one more tensor, a row with a one at the body's own number and at those of the
bodies inside that it has entered; the model returns the largest of all. Its other numbers stay.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray
from onnx_ir.passes import common

PREFIX = "foldnorm_entered"
FREE_INITIALIZERS = 4  # the first version of the format whose bodies may have constants
FIRST_OPSET_WITH_AXES_AS_INPUT = 18  # of ReduceMax


@dataclass(frozen=True)
class Marked:
    """A model that returns marks after its own outputs.

    Attributes:
        bodies: the name of each, by its number.
    """

    model: ir.Model
    bodies: tuple[str, ...]


def marked(model: ir.Model) -> Marked | None:
    """Return a copy that marks what it enters; None for a model without control flow."""
    copy = model.clone()
    common.InlinePass()(copy)
    copy.ir_version = max(copy.ir_version, FREE_INITIALIZERS)
    bodies = list(_bodies(copy.graph))
    if not bodies:
        return None
    writer = _Writer({id(body): number for number, (_, body) in enumerate(bodies)}, copy)
    copy.graph.outputs.append(writer.marks(copy.graph, None))
    return Marked(copy, tuple(name for name, _ in bodies))


def _bodies(graph: ir.Graph) -> Iterator[tuple[str, ir.Graph]]:
    for node in graph:
        for name, body in _graphs_of(node):
            yield f"{name} of {node.name or node.outputs[0].name}", body
            yield from _bodies(body)


def _graphs_of(node: ir.Node) -> Iterator[tuple[str, ir.Graph]]:
    if node.op_type in ("If", "Loop", "Scan"):
        for name, attribute in node.attributes.items():
            if attribute.type == ir.AttributeType.GRAPH:
                yield name, attribute.as_graph()


class _Writer:
    def __init__(self, numbers: dict[int, int], model: ir.Model) -> None:
        self._numbers = numbers
        self._opset = model.opset_imports.get("", 1)
        self._made = 0

    def marks(self, graph: ir.Graph, number: int | None) -> ir.Value:
        """Return what a graph has entered, itself included."""
        own = np.zeros(len(self._numbers), np.float32)
        if number is not None:
            own[number] = 1
        rows = [self._constant(graph, own)]
        for node in list(graph):
            bodies = [body for _, body in _graphs_of(node)]
            for body in bodies:
                body.outputs.append(self.marks(body, self._numbers[id(body)]))
            if bodies:
                rows.append(self._of_node(graph, node))
        return self._node(graph, "Max", rows)

    def _of_node(self, graph: ir.Graph, node: ir.Node) -> ir.Value:
        """Return a node's marks: of a branch as they are, of a loop the largest of all rounds."""
        node.resize_outputs(len(node.outputs) + 1)
        found = self._named(node.outputs[-1])
        directions = node.attributes.get("scan_output_directions")
        axes = node.attributes.get("scan_output_axes")
        for attribute in (directions, axes):
            if attribute is not None:
                longer = [*attribute.as_ints(), 0]
                node.attributes[attribute.name] = ir.AttrInt64s(attribute.name, longer)
        if node.op_type == "If":
            return found
        none = self._constant(graph, np.zeros((1, len(self._numbers)), np.float32))
        every = self._node(graph, "Concat", [none, found], ir.AttrInt64("axis", 0))
        keep = ir.AttrInt64("keepdims", 0)
        if self._opset < FIRST_OPSET_WITH_AXES_AS_INPUT:
            return self._node(graph, "ReduceMax", [every], keep, ir.AttrInt64s("axes", [0]))
        axis = self._constant(graph, np.zeros(1, np.int64))
        return self._node(graph, "ReduceMax", [every, axis], keep)

    def _constant(self, graph: ir.Graph, array: NDArray[np.generic]) -> ir.Value:
        value = self._named(ir.Value())
        value.const_value = ir.tensor(array, name=value.name)
        value.shape, value.type = ir.Shape(array.shape), ir.TensorType(value.const_value.dtype)
        graph.register_initializer(value)
        return value

    def _node(
        self, graph: ir.Graph, operator: str, inputs: list[ir.Value], *attributes: ir.Attr
    ) -> ir.Value:
        node = ir.Node("", operator, inputs, attributes, num_outputs=1)
        graph.append(node)
        value = self._named(node.outputs[0])
        value.type = ir.TensorType(ir.DataType.FLOAT)
        return value

    def _named(self, value: ir.Value) -> ir.Value:
        self._made += 1
        value.name = f"{PREFIX}_{self._made}"
        return value
