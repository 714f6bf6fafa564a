"""One rule per pattern: how a map per channel crosses one operation, or ends in it.

A rule is asked about one operation and one direction:

    backward  operation ─► map      the map comes after it and moves towards the input
    forward   map ─► operation      the map comes before it and moves towards the output

`check` refuses with a reason, or returns the moves that remain: none where the operation has
absorbed the map, one where the map comes out on the other side, several where it has to enter
branches. It changes nothing; `rewrite` is called once all moves are known to end somewhere.

A new rule is one module here, one entry in `RULES`, and its tests.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Literal

import numpy as np

from training.folding.algebra.affine import ChannelMap, FoldRefused
from training.folding.engine.graph import Affine, Graph, Node, Operation, Value

Direction = Literal["backward", "forward"]


@dataclass(frozen=True, eq=False)
class Move:
    """A map that is to cross one operation.

    Attributes:
        map: what is to be absorbed.
        axes: of its channels; several where they are spread over these.
        node: the operation.
        direction: in which the map moves.
        value: the tensor that the map applies to: an output of `node` if it moves backward, an
            input if it moves forward.
        origin: the node that is to disappear.
        downstream: the one node that reads `value`, where the map moves backward.
        others: the maps that have come to other inputs of `node`, where they move forward.
    """

    map: ChannelMap
    axes: tuple[int, ...]
    node: Node
    direction: Direction
    value: Value
    origin: Node
    downstream: Node | None = None
    others: tuple[Onward, ...] = ()

    @property
    def axis(self) -> int:
        """The axis of the channels.

        Raises:
            FoldRefused: they are spread over several.
        """
        if len(self.axes) > 1:
            raise FoldRefused(
                f"{self.node.name} gets the channels on axes {' and '.join(map(str, self.axes))}"
            )
        return self.axes[0]

    @property
    def is_uniform(self) -> bool:
        """Whether the map is the same for all channels, so that its axis does not matter."""
        return self.map.scale.size == 1

    @property
    def from_constants(self) -> bool:
        """Whether only constants would disappear, and no batch norm."""
        operation = self.origin.operation
        return isinstance(operation, Affine) and not operation.norms

    def map_of(self, value: Value) -> ChannelMap:
        """Return the map that has come to an input, the identity where there is none."""
        maps = {self.value: self.map} | {one.value: one.map for one in self.others}
        return maps.get(value, ChannelMap(np.ones(1), np.zeros(1)))

    def onward(self, map_: ChannelMap, value: Value, axes: tuple[int, ...] | None = None) -> Onward:
        """Return what remains to be absorbed, at another tensor of the same operation."""
        return Onward(map_, self.axes if axes is None else axes, value)


@dataclass(frozen=True, eq=False)
class Onward:
    """A map that has come out of an operation, at `value`."""

    map: ChannelMap
    axes: tuple[int, ...]
    value: Value


class Rule(ABC):
    """One pattern.

    Attributes:
        pattern: as users know it, `linear → bn`.
        operation: what it crosses.
        direction: in which the map moves.
    """

    pattern: str
    operation: type[Operation]
    direction: Direction

    @abstractmethod
    def check(self, move: Move, graph: Graph) -> tuple[Onward, ...]:
        """Return what remains to be absorbed elsewhere; change nothing.

        Raises:
            FoldRefused: it would not be exact; the message is the reason.
        """

    def rewrite(self, move: Move, graph: Graph) -> None:  # noqa: B027 - most need no change
        """Change the operation, if it has to change for the map to end in it or to cross it."""
