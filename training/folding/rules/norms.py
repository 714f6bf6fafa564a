"""`bn → bn`: two maps in a row are one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from training.folding.affine import FoldRefused
from training.folding.graph import Affine

if TYPE_CHECKING:
    from training.folding.graph import Graph
    from training.folding.rules import Move, Onward


class BehindAffine:
    """The first takes up the second."""

    pattern = "bn → bn"
    operation = Affine
    side = "behind"

    def check(self, move: Move, graph: Graph) -> tuple[Onward, ...]:
        """Refuse another axis; constants alone have no place for both a scale and a shift."""
        first = move.node.operation
        assert isinstance(first, Affine), "a rule is asked about its own operation"
        if first.locked is not None:
            raise FoldRefused(first.locked)
        if not first.norms:
            raise FoldRefused(f"its input comes from {move.node.name}, which is constant")
        if first.axis != move.axis and not move.is_uniform:
            raise FoldRefused(f"{move.node.name} acts on axis {first.axis}, not on {move.axis}")
        move.map.broadcast(first.map.scale.size)
        return ()

    def rewrite(self, move: Move, graph: Graph) -> None:
        """Do both in the first."""
        first, second = move.node.operation, move.origin.operation
        assert isinstance(first, Affine), "a rule is asked about its own operation"
        assert isinstance(second, Affine), "only maps move"
        first.map = move.map.after(first.map)
        first.norms += second.norms
