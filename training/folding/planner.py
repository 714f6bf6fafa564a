"""Plans and carries out folds until nothing more can go.

For each map per channel the planner asks the rules, operation by operation, first against the flow
and then with it, until every part of the map has ended in a layer: only then anything changes. A
fold may make room for another, so all are asked again until a round changes nothing. Folding what
was folded changes nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from training.folding.affine import ChannelMap, FoldRefused
from training.folding.graph import (
    Affine,
    KeptNorm,
    Linear,
    Norm,
    Opaque,
)
from training.folding.report import Row
from training.folding.rules import Move
from training.folding.rulebook import RULES

if TYPE_CHECKING:
    from collections.abc import Iterator

    from training.folding.graph import Graph, Node, Value
    from training.folding.rules import Rule, Side


def fold(graph: Graph) -> list[Row]:
    """Fold all that can be folded exactly, and return what became of every batch norm."""
    rows: dict[Norm, Row] = {}
    while _fold_some(graph, rows):
        pass
    _tell_refusals(graph, rows)
    return list(rows.values())


def _fold_some(graph: Graph, rows: dict[Norm, Row]) -> bool:
    """Try every map once; return whether any has gone."""
    gone = [node for node in graph.affines() if node in graph.nodes and _fold_one(graph, node, rows)]
    return bool(gone)


def _fold_one(graph: Graph, node: Node, rows: dict[Norm, Row]) -> bool:
    try:
        moves = _plan(graph, node)
    except FoldRefused:
        return False
    operation = node.operation
    assert isinstance(operation, Affine), "only maps move"
    norms = operation.norms or (Norm(node.name, operation.map.scale.size),)
    row_scale = operation.map.largest_scale
    ends, witness = _carry_out(graph, node, moves)
    for norm in norms:
        rows[norm] = Row(
            norm,
            into=tuple(end.name for end, _ in ends),
            pattern=ends[0][1],
            largest_scale=row_scale,
            is_norm=bool(operation.norms),
            witness=witness,
        )
    return True


def _plan(graph: Graph, origin: Node) -> list[tuple[Rule, Move]]:
    """Return every step of a fold that is exact, against the flow if it can be.

    Raises:
        FoldRefused: with the reasons of both directions.
    """
    operation = origin.operation
    assert isinstance(operation, Affine), "only maps move"
    if operation.locked is not None:
        raise FoldRefused(operation.locked)
    map_, axis = operation.map, operation.axis
    try:
        return list(_behind(graph, origin, map_, axis, origin.inputs[0], origin))
    except FoldRefused as refusal:
        behind = refusal
    try:
        return list(_before(graph, origin, map_, axis, origin.output))
    except FoldRefused as refusal:
        raise FoldRefused(f"{behind}; {refusal}") from refusal


def _behind(
    graph: Graph, origin: Node, map_: ChannelMap, axis: int, value: Value, downstream: Node
) -> Iterator[tuple[Rule, Move]]:
    """Yield the steps that move a map from `value` against the flow."""
    node = value.producer
    if node is None:
        raise FoldRefused("its input is not the output of a layer")
    rule = RULES.get((type(node.operation), "behind"))
    if rule is None:
        raise FoldRefused(f"its input comes from {_kind(node)}, not from a linear layer")
    readers = len(value.consumers) + value.is_output
    if readers > 1 and not (graph.clones and isinstance(node.operation, Linear)):
        remedy = "; --clone gives it a copy" if isinstance(node.operation, Linear) else ""
        raise FoldRefused(f"the output of {node.name} has {readers} consumers{remedy}")
    if value is not node.output:
        raise FoldRefused(f"{value.name} is not the first output of {node.name}")
    move = Move(map_, axis, node, "behind", value, origin, downstream)
    onward = rule.check(move, graph)
    for one in onward:
        yield from _behind(graph, origin, one.map, one.axis, one.value, node)
    yield rule, move


def _before(
    graph: Graph, origin: Node, map_: ChannelMap, axis: int, value: Value
) -> Iterator[tuple[Rule, Move]]:
    """Yield the steps that move a map from `value` with the flow, into every consumer."""
    if value.is_output:
        raise FoldRefused("its output is an output of the network")
    for node in dict.fromkeys(value.consumers):
        rule = RULES.get((type(node.operation), "before"))
        if rule is None:
            raise FoldRefused(f"its output goes to {_kind(node)}, not to a linear layer")
        move = Move(map_, axis, node, "before", value, origin)
        for one in rule.check(move, graph):
            yield from _before(graph, origin, one.map, one.axis, one.value)
        yield rule, move


def _kind(node: Node) -> str:
    operation = node.operation
    if isinstance(operation, Opaque):
        return operation.kind
    return f"{type(operation).__name__} ({node.name})"


def _carry_out(
    graph: Graph, origin: Node, moves: list[tuple[Rule, Move]]
) -> tuple[list[tuple[Node, str]], Value]:
    """Change the graph as planned; return where the map ended, by which rule, and a witness."""
    ends: list[tuple[Node, str]] = []
    meaning = origin.output.meaning
    against_flow = moves[0][1].side == "behind"
    for rule, move in moves:
        ends += _step(graph, rule, move, against_flow)
    source = origin.inputs[0]
    if origin in graph.nodes:
        graph.bypass(origin)
    if against_flow:
        source.meaning = meaning
        return ends, source
    return ends, ends[0][0].output


def _step(
    graph: Graph, rule: Rule, move: Move, against_flow: bool
) -> list[tuple[Node, str]]:
    """Carry out one step; return the node if the map ended in it."""
    node = move.node
    if against_flow:
        shared = len(move.value.consumers) + move.value.is_output > 1
        if shared and move.downstream is not None:
            node = graph.clone(node, move.downstream)
        else:
            move.value.meaning = None  # its numbers are now those of what comes later
    elif not isinstance(node.operation, Linear):
        node.output.meaning = None
    rule.rewrite(_at(move, node), graph)
    return [(node, rule.pattern)] if isinstance(node.operation, Linear | Affine) else []


def _at(move: Move, node: Node) -> Move:
    """Return the same move at a copy of its node."""
    if node is move.node:
        return move
    return Move(
        move.map, move.axis, node, move.side, node.output, move.origin, move.downstream
    )


def _tell_refusals(graph: Graph, rows: dict[Norm, Row]) -> None:
    """Add a row for every batch norm that has stayed."""
    for node in graph.nodes:
        operation = node.operation
        if isinstance(operation, KeptNorm):
            rows[operation.norm] = Row(operation.norm, reason=operation.reason)
        elif isinstance(operation, Affine) and operation.norms:
            try:
                _plan(graph, node)
            except FoldRefused as refusal:
                rows[operation.norms[0]] = Row(operation.norms[0], reason=str(refusal))
