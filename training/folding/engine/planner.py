"""Plans and carries out folds until nothing more can go.

For each map per channel the planner asks the rules, operation by operation, until every part of
the map has ended in a layer: only then anything changes. First backward, into what the map reads,
then forward, into what reads it, then into a parallel layer. A fold may make room for another, so
all are asked again until a round changes nothing. Only then layers are copied, if that was asked
for. Folding what was folded changes nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from training.folding.algebra.affine import ChannelMap, FoldRefused
from training.folding.engine.graph import (
    Affine,
    Graph,
    KeptNorm,
    Linear,
    Node,
    Opaque,
    Rearrange,
    Value,
)
from training.folding.engine.report_builder import ReportBuilder
from training.folding.engine.report_row import Row
from training.folding.engine.rule import Move, Onward, Rule
from training.folding.engine.rules import RULES
from training.folding.engine.rules.parallel import (
    PATTERN,
    Sibling,
    absorb,
    merge_layers,
    sibling_of,
    take_in_identities,
)
from training.folding.engine.rules.rearrange import spares
from training.folding.engine.spelled_out import spelled_out

Step = tuple[Rule, Move]
Plan = Callable[[Graph, Node], list[Step]]


def fold(graph: Graph) -> list[Row]:
    """Fold all that can be folded exactly, and return what became of every batch norm."""
    _separate(graph)
    report = ReportBuilder(graph)
    wanted = graph.clones
    for clones in sorted({False, wanted}):
        graph.clones = clones
        while _fold_some(graph, report) or _merge_some(graph, report):
            pass
    _report_refusals(graph, report)
    return report.rows()


def _separate(graph: Graph) -> None:
    """Give each node an operation of its own, and note at layers that others have their weights."""
    first_with: dict[int, Node] = {}
    for node in graph.nodes:
        operation = node.operation
        if isinstance(operation, Affine):
            if first_with.setdefault(id(operation), node) is not node:
                node.operation = replace(operation)
        elif isinstance(operation, Linear):
            first = first_with.setdefault(id(operation.map), node)
            if first is not node:
                node.operation = Linear(replace(operation.map, shared=first.name))
                operation.map.shared = operation.map.shared or node.name


def _fold_some(graph: Graph, report: ReportBuilder) -> bool:
    """Try every map in every direction; return whether any has gone.

    Backward the first map of a chain goes first, forward the last, so that chains go at once.
    """
    backward = [_move(graph, node, _plan_backward, report) for node in graph.affines()]
    forward = [_move(graph, node, _plan_forward, report) for node in reversed(graph.affines())]
    parallel = [_move_parallel(graph, node, report) for node in graph.affines()]
    if any(backward + forward + parallel):
        return True
    norms = [node for node in graph.affines() if _is_free_norm(node)]
    return any([take_in_identities(node, graph) for node in norms])  # noqa: C419 - all of them


def _is_free_norm(node: Node) -> bool:
    operation = node.operation
    return isinstance(operation, Affine) and bool(operation.norms) and operation.locked is None


def _merge_some(graph: Graph, report: ReportBuilder) -> bool:
    """Make one of layers side by side; return whether there were any."""
    known = len(graph.merged)
    merge_layers(graph)
    for kept, gone in graph.merged[known:]:
        report.merged(kept, gone)
    return len(graph.merged) > known


def _move(graph: Graph, origin: Node, plan: Plan, report: ReportBuilder) -> bool:
    """Fold a map backward or forward, if all of it can go; return whether it has gone."""
    try:
        steps = plan(graph, origin)
    except FoldRefused:
        return False
    backward = steps[0][1].direction == "backward"
    pattern = steps[0][0].pattern
    original_name = origin.output.original_name
    reached = [_carry_out(graph, *step) for step in steps]
    ends = sorted(filter(_ends_map, reached), key=graph.nodes.index)
    source = origin.inputs[0]
    graph.bypass(origin)
    if backward:
        source.original_name = original_name
    report.folded(origin, ends, pattern, source if backward else ends[0].output)
    return True


def _move_parallel(graph: Graph, origin: Node, report: ReportBuilder) -> bool:
    """Fold a map into a parallel layer; return whether it has gone."""
    try:
        sibling = _plan_parallel(graph, origin)
    except FoldRefused:
        return False
    if sibling is None:
        return False
    absorb(sibling, graph)
    report.folded(origin, [sibling.node], PATTERN, sibling.node.output)
    return True


def _plan_backward(graph: Graph, origin: Node) -> list[Step]:
    """Return the steps that move a map backward, the first ones of the network first.

    Raises:
        FoldRefused: a part of it would have no exact place.
    """
    map_, axis = _check_unlocked(origin)
    steps: list[Step] = []
    pending = [(Onward(map_, (axis,), origin.inputs[0]), origin)]
    while pending:
        one, downstream = pending.pop()
        node = _producer(one.value, downstream, origin)
        rule = RULES.get((type(node.operation), "backward"))
        if rule is None:
            raise FoldRefused(
                f"{_subject(downstream, origin, 'input')} comes from {_described(node)}"
            )
        move = Move(one.map, one.axes, node, "backward", one.value, origin, downstream)
        _check_readers(move, graph)
        pending += [(onward, node) for onward in rule.check(move, graph)]
        steps.append((rule, move))
    return steps[::-1]


def _plan_forward(graph: Graph, origin: Node) -> list[Step]:
    """Return the steps that move a map forward into every reader, the last ones first.

    Raises:
        FoldRefused: a part of it would have no exact place.
    """
    map_, axis = _check_unlocked(origin)
    steps: list[Step] = []
    order = {node: place for place, node in enumerate(graph.nodes)}
    reached = _readers(Onward(map_, (axis,), origin.output), origin, origin)
    while reached:
        node = min(reached, key=order.__getitem__)  # so that all that reaches it is known
        one, *others = reached.pop(node)
        rule = RULES[type(node.operation), "forward"]
        move = Move(one.map, one.axes, node, "forward", one.value, origin, others=tuple(others))
        for onward in rule.check(move, graph):
            for reader, new in _readers(onward, node, origin).items():
                reached.setdefault(reader, []).extend(new)
        steps.append((rule, move))
    return steps[::-1]


def _readers(one: Onward, upstream: Node, origin: Node) -> dict[Node, list[Onward]]:
    """Return the nodes that a map moves forward into, with the map.

    Raises:
        FoldRefused: there is none, or one that takes no map.
    """
    subject = _subject(upstream, origin, "output")
    if one.value.is_output:
        raise FoldRefused(f"{subject} is an output of the network")
    if not one.value.consumers:
        raise FoldRefused(f"{subject} is not used")
    for node in one.value.consumers:
        if (type(node.operation), "forward") not in RULES:
            raise FoldRefused(f"{subject} goes to {_described(node)}")
    return {node: [one] for node in one.value.consumers}


def _plan_parallel(graph: Graph, origin: Node) -> Sibling | None:
    """Return the parallel layer that can take up a map, None where there is none.

    Raises:
        FoldRefused: there is one, but it would not be exact.
    """
    _check_unlocked(origin)
    return sibling_of(origin, graph)


def _check_unlocked(origin: Node) -> tuple[ChannelMap, int]:
    """Return the map of a node and its axis.

    Raises:
        FoldRefused: it must stay.
    """
    operation = origin.operation
    assert isinstance(operation, Affine), "only maps move"
    if operation.locked is not None:
        raise FoldRefused(operation.locked)
    return operation.map, operation.axis


def _producer(value: Value, downstream: Node, origin: Node) -> Node:
    if value.producer is None:
        raise FoldRefused(
            f"{_subject(downstream, origin, 'input')}, {value.name}, is not the output of a layer"
        )
    splits = isinstance(value.producer.operation, Rearrange)
    if value is not value.producer.output and not splits:
        raise FoldRefused(f"{value.name} is not the first output of {value.producer.name}")
    return value.producer


def _check_readers(move: Move, graph: Graph) -> None:
    """Refuse to change numbers that others read too, unless they get a copy."""
    value, name = move.value, move.node.name
    is_layer = isinstance(move.node.operation, Linear)
    if _spares_others(move) or (graph.clones and is_layer and not move.from_constants):
        return
    others = "is also an output of the network" if value.is_output else ""
    uses = f"is read {len(value.consumers)} times" if len(value.consumers) > 1 else ""
    remedy = "; --clone gives the batch norm a copy of the layer" if is_layer else ""
    raise FoldRefused(f"the output of {name} {' and '.join(filter(None, (uses, others)))}{remedy}")


def _spares_others(move: Move) -> bool:
    """Return whether none but the node where a map comes from would see that it has moved."""
    assert move.downstream is not None, "a map that moves backward has a reader"
    others = list(move.value.consumers)
    others.remove(move.downstream)
    return not move.value.is_output and all(spares(one, move.map, move.axes) for one in others)


def _subject(node: Node, origin: Node, end: str) -> str:
    return f"its {end}" if node is origin else f"the {end} of {node.name}"


def _described(node: Node) -> str:
    """Return a node that is in the way, as text."""
    operation = node.operation
    if isinstance(operation, KeptNorm):
        return f"{node.name}, a batch norm that stays"
    opaque = operation if isinstance(operation, Opaque) else Opaque(type(operation).__name__)
    name = f"{node.name} ({opaque.kind})" if node.name != opaque.kind else opaque.kind
    return f"{name}, {opaque.reason}"


def _ends_map(node: Node) -> bool:
    return isinstance(node.operation, Linear | Affine)


def _carry_out(graph: Graph, rule: Rule, move: Move) -> Node:
    """Carry out one step; return the node, or its copy."""
    node = move.node
    if move.direction == "forward":
        for value in () if _ends_map(node) else node.outputs:
            value.original_name = None
    elif not _spares_others(move):
        assert move.downstream is not None, "a map that moves backward has a reader"
        node = graph.clone(node, move.downstream)
        move = replace(move, node=node, value=node.output)
    else:
        move.value.original_name = None  # its numbers are now those of what comes later
    rule.rewrite(move, graph)
    return node


def _report_refusals(graph: Graph, report: ReportBuilder) -> None:
    """Note every batch norm that has stayed, those that are spelled out with constants as well."""
    for first, last in spelled_out(graph):
        report.constant_refused(first, _reasons(graph, first, last))
    for node in graph.nodes:
        operation = node.operation
        if isinstance(operation, KeptNorm):
            report.refused(operation.norm, operation.reason)
        elif isinstance(operation, Affine) and operation.norms:
            report.refused(operation.norms[0], operation.locked or _reasons(graph, node, node))


def _reasons(graph: Graph, first: Node, last: Node) -> str:
    """Return why a map, or some in a row, can move nowhere."""
    reasons = (
        ("not into what comes before", _reason(_plan_backward, graph, first)),
        ("nor into what follows", _reason(_plan_forward, graph, last)),
        ("nor into what is parallel to it", _reason(_plan_parallel, graph, last)),
    )
    return "; ".join(f"{where}: {reason}" for where, reason in reasons if reason)


def _reason(plan: Callable[[Graph, Node], object], graph: Graph, origin: Node) -> str:
    try:
        plan(graph, origin)
    except FoldRefused as refusal:
        return str(refusal)
    return ""
