"""Differences as sums, a - b = a + (-b), so that the rules need to know of sums alone.

A negation that folding has left in its place becomes the difference again that it was.
"""

from __future__ import annotations

from collections.abc import Callable, Container

import onnx_ir as ir

from training.folding.onnx_frontend.constants import NEUTRAL_DOMAINS, Constants


def split_differences(
    graph: ir.Graph, constants: Constants, but: Container[ir.Node]
) -> list[ir.Node]:
    """Write differences as sums; return the negations, whose outputs have no names.

    A graph without batch norms is left alone: a sign that moves into a layer is worth nothing.

    Args:
        graph: changed in place.
        constants: of the graph.
        but: the nodes to leave alone.
    """
    found = [node for node in graph if node not in but and _is_difference(node, constants)]
    negations: list[ir.Node] = []
    if not any(node.op_type == "BatchNormalization" for node in graph):
        return negations
    for node in found:
        subtrahend, stem = node.inputs[1], node.name or node.outputs[0].name
        negation = ir.Node("", "Neg", [subtrahend], num_outputs=1, name=f"{stem}_negated")
        assert subtrahend is not None, "a difference has two"
        negation.outputs[0].type, negation.outputs[0].shape = subtrahend.type, subtrahend.shape
        graph.insert_before(node, negation)
        node.op_type = "Add"
        node.replace_input_with(1, negation.outputs[0])
        negations.append(negation)
    return negations


def restore_differences(negations: list[ir.Node], new_name: Callable[[str], str]) -> None:
    """Make differences of the sums whose negations are still there, and name the others."""
    for negation in negations:
        (value,) = negation.outputs
        uses = tuple(value.uses())
        if len(uses) == 1 and uses[0].node.op_type == "Add" and uses[0].idx == 1:
            uses[0].node.op_type = "Sub"
            uses[0].node.replace_input_with(1, negation.inputs[0])
        elif value.name is None:
            value.name = new_name(str(negation.name))


def _is_difference(node: ir.Node, constants: Constants) -> bool:
    """Whether a node subtracts computed numbers, from others or from a constant map."""
    if node.op_type != "Sub" or node.domain not in NEUTRAL_DOMAINS:
        return False
    minuend, subtrahend = node.inputs
    if minuend is None or subtrahend is None or constants.holds(subtrahend):
        return False
    if constants.holds(minuend) and not _varies_on_two_axes(minuend):
        return False
    return subtrahend.dtype is not None and subtrahend.dtype.is_floating_point()


def _varies_on_two_axes(value: ir.Value) -> bool:
    return value.shape is not None and sum(size != 1 for size in value.shape) > 1
