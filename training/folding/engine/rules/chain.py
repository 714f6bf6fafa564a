"""`bn → bn`: two maps in a row are one, in the first or in the second."""

from __future__ import annotations

from training.folding.algebra.affine import FoldRefused
from training.folding.engine.graph import Affine, Graph, Norm
from training.folding.engine.rule import Move, Onward, Rule


class BackwardAffine(Rule):
    """The first takes up the second."""

    pattern = "bn → bn"
    operation = Affine
    direction = "backward"

    def check(self, move: Move, graph: Graph) -> tuple[Onward, ...]:
        """Refuse another axis."""
        first = _affine(move)
        _check(move, first)
        return ()

    def rewrite(self, move: Move, graph: Graph) -> None:
        """Do both in the first."""
        first = _affine(move)
        first.map = move.map.after(first.map)
        first.norms += _norms(move)
        first.changed = True


class ForwardAffine(Rule):
    """The second takes up the first."""

    pattern = "bn → bn"
    operation = Affine
    direction = "forward"

    def check(self, move: Move, graph: Graph) -> tuple[Onward, ...]:
        """Refuse another axis."""
        second = _affine(move)
        _check(move, second)
        return ()

    def rewrite(self, move: Move, graph: Graph) -> None:
        """Do both in the second."""
        second = _affine(move)
        second.map = second.map.after(move.map)
        second.norms += _norms(move)
        second.changed = True


def _affine(move: Move) -> Affine:
    assert isinstance(move.node.operation, Affine), "a rule is asked about its own operation"
    return move.node.operation


def _norms(move: Move) -> tuple[Norm, ...]:
    assert isinstance(move.origin.operation, Affine), "only maps move"
    return move.origin.operation.norms


def _check(move: Move, host: Affine) -> None:
    """Refuse to put a map into another one that cannot hold both."""
    name = move.node.name
    if host.locked is not None:
        raise FoldRefused(f"{name} must stay as it is: {host.locked}")
    if not host.norms:
        raise FoldRefused(f"{name} is a constant, which has no place for a scale and a shift")
    if host.axis != move.axis and not move.is_uniform:
        raise FoldRefused(f"{name} acts on axis {host.axis}, not on axis {move.axis}")
    move.map.broadcast(host.norms[0].channels)
