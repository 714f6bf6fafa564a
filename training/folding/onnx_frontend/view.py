"""An ONNX graph as folding sees it: each node as one of a few operations.

What an operator does not fit exactly is opaque: nothing is folded into it or past it.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import onnx_ir as ir

from training.folding.algebra.affine import FoldRefused
from training.folding.engine.graph import (
    Affine,
    Concat,
    Graph,
    Linear,
    Node,
    Opaque,
    Operation,
    Sum,
    Value,
)
from training.folding.onnx_frontend.constants import NEUTRAL_DOMAINS, Constants
from training.folding.onnx_frontend.readers.context import Context
from training.folding.onnx_frontend.readers.differences import split_differences
from training.folding.onnx_frontend.readers.fusions import fused_nodes
from training.folding.onnx_frontend.readers.operators import READERS

SIZES = ("Shape", "Size")  # what reads only these does not mind other numbers
LAYERS = ("Conv", "ConvTranspose", "Gemm", "MatMul")


@dataclass
class View:
    """The neutral graph, and what belongs to what.

    Attributes:
        natives: the ONNX nodes that a neutral node stands for, the first of them first.
        slots: for each neutral node, the ONNX node and the index where each of its inputs is read.
        values: ONNX values by neutral value.
        fused: nodes of functions that runtimes know as one, with the last of each by name.
        negations: what differences were written with, as sums.
    """

    native: ir.Graph
    graph: Graph
    constants: Constants
    natives: dict[Node, list[ir.Node]] = field(default_factory=dict)
    slots: dict[Node, list[tuple[ir.Node, int]]] = field(default_factory=dict)
    values: dict[Value, ir.Value] = field(default_factory=dict)
    fused: dict[ir.Node, str] = field(default_factory=dict)
    negations: list[ir.Node] = field(default_factory=list)

    def name_of(self, value: Value) -> str:
        """Return the name that a value has in the ONNX graph."""
        return self.values[value].name or ""


def view_of(native: ir.Graph, constants: Constants, *, clones: bool) -> View:
    """Return the neutral graph of an ONNX graph, bodies of control flow left out.

    Differences become sums in the ONNX graph; writing back restores them.
    """
    view = View(native, Graph(clones=clones), constants, fused=fused_nodes(native, constants))
    view.negations = split_differences(native, constants, view.fused)
    known: dict[ir.Value, Value] = {}
    context = Context(native, constants)
    for node in native:
        if node.outputs and all(constants.holds(output) for output in node.outputs):
            continue
        _add(view, known, context, node)
    _join_biases(view)
    return view


def _add(view: View, known: dict[ir.Value, Value], context: Context, native: ir.Node) -> None:
    indices = [
        index
        for index, value in enumerate(native.inputs)
        if value is not None and not context.constants.holds(value)
    ]
    operation = _operation(native, indices, context)
    if isinstance(operation, Affine) and not operation.norms and native in view.fused:
        operation.locked = f"it is part of {view.fused[native]}, a function that runtimes fuse"
    values = [_value(view, known, native.inputs[index]) for index in indices]
    numbers = _count_of_data(native, operation, len(indices))
    for value in values[numbers:] if native.op_type not in SIZES else ():
        value.is_output = True  # an amount, say: never to be changed
    node = Node(
        native.name or native.outputs[0].name or native.op_type,
        operation,
        values[:numbers],
        [_value(view, known, output) for output in native.outputs],
    )
    view.graph.add(node)
    if native in view.negations:
        node.output.original_name = None  # it is none of the original network
    view.natives[node] = [native]
    view.slots[node] = [(native, index) for index in indices[:numbers]]


def _operation(native: ir.Node, indices: list[int], context: Context) -> Operation:
    reader = READERS.get(native.op_type)
    if native.domain in NEUTRAL_DOMAINS and reader is not None:
        try:
            operation = reader(native, indices, context)
        except FoldRefused as refusal:
            return Opaque(f"{native.op_type}: {refusal}")
        except (ArithmeticError, LookupError, TypeError, ValueError):
            return Opaque(f"{native.op_type}: its attributes do not fit its inputs")
        if operation is not None:
            return operation
    computed = " without constant weights" if native.op_type in LAYERS else ""
    return Opaque(f"{native.op_type}{computed}")


def _count_of_data(native: ir.Node, operation: Operation, count: int) -> int:
    """Return how many of a node's inputs it reads for their numbers, and not for a size."""
    if native.op_type in SIZES:
        return 0
    return count if isinstance(operation, Opaque | Sum | Concat) else 1


def _value(view: View, known: dict[ir.Value, Value], native: ir.Value | None) -> Value:
    assert native is not None, "filtered before"
    if native not in known:
        shape = None
        if native.shape is not None:
            shape = tuple(size if isinstance(size, int) else None for size in native.shape)
        read_elsewhere = any(use.node.graph is not view.native for use in native.uses())
        value = Value(
            native.name or "", shape, is_output=native.is_graph_output() or read_elsewhere
        )
        value.original_name = value.name
        known[native] = value
        view.values[value] = native
    return known[native]


def _join_biases(view: View) -> None:
    """Take a matrix product and the vector that is added to it for one layer."""
    for node in list(view.graph.nodes):
        operation = node.operation
        if not isinstance(operation, Linear) or view.natives[node][0].op_type != "MatMul":
            continue
        readers = node.output.consumers
        if len(readers) != 1 or node.output.is_output:
            continue
        (add,) = readers
        native = view.natives[add][0]
        bias = add.operation
        rank = node.output.rank
        if native.op_type != "Add" or not isinstance(bias, Affine) or rank is None:
            continue
        if bias.map.scale.size != operation.map.channels_out or bias.axis != rank - 1:
            continue
        operation.map.bias = bias.map.shift
        view.graph.nodes.remove(add)
        view.natives[node].append(native)
        node.outputs = add.outputs
        node.output.producer = node
