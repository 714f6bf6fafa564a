"""`bn → bn`: two maps in a row are one, in the first or in the second."""

from __future__ import annotations

from training.folding.algebra.affine import FoldRefused
from training.folding.engine.graph import Affine, Graph, Norm
from training.folding.engine.rule import Direction, Move, Onward, Rule


class BackwardAffine(Rule):
    """The first takes up the second."""

    pattern = "bn → bn"
    operation = Affine
    direction: Direction = "backward"

    def check(self, move: Move, graph: Graph) -> tuple[Onward, ...]:
        """Refuse another axis."""
        _check(move, _affine(move))
        return ()

    def rewrite(self, move: Move, graph: Graph) -> None:
        """Do both in the one that stays."""
        host, backward = _affine(move), self.direction == "backward"
        host.map = move.map.after(host.map) if backward else host.map.after(move.map)
        host.norms += _norms(move)
        host.changed = True


class ForwardAffine(BackwardAffine):
    """The second takes up the first."""

    direction = "forward"


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
    if not move.is_uniform and host.axis != move.axis:
        raise FoldRefused(f"{name} acts on axis {host.axis}, not on axis {move.axis}")
    move.map.broadcast(host.norms[0].channels)
