"""All rules, one module for each kind of pattern, by operation and direction.

A new pattern is a module here, an entry below, and its tests. `parallel` is no rule: the planner
asks it by itself. No ONNX, no torch, and no search, which is the planner's.
"""

from __future__ import annotations

from training.folding.engine.graph import Operation
from training.folding.engine.rule import Direction, Rule
from training.folding.engine.rules.branches import (
    BackwardConcat,
    BackwardSum,
    ForwardConcat,
    ForwardSum,
)
from training.folding.engine.rules.chain import BackwardAffine, ForwardAffine
from training.folding.engine.rules.linear import BackwardLinear, ForwardLinear
from training.folding.engine.rules.offset import PassOffset
from training.folding.engine.rules.pads import PassBorderPad, PassPad
from training.folding.engine.rules.passage import PassAverage, PassMaximum, PassSame
from training.folding.engine.rules.rearrange import BackwardRearrange, ForwardRearrange

_DIRECTIONS: tuple[Direction, Direction] = ("backward", "forward")
_ALL: list[Rule] = [
    BackwardLinear(),
    ForwardLinear(),
    BackwardAffine(),
    ForwardAffine(),
    BackwardRearrange(),
    ForwardRearrange(),
    BackwardSum(),
    ForwardSum(),
    BackwardConcat(),
    ForwardConcat(),
    *(
        passage(direction)
        for passage in (PassSame, PassMaximum, PassAverage, PassPad, PassBorderPad, PassOffset)
        for direction in _DIRECTIONS
    ),
]
RULES: dict[tuple[type[Operation], Direction], Rule] = {
    (rule.operation, rule.direction): rule for rule in _ALL
}
