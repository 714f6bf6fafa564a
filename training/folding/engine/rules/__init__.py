"""All rules, by the operation and the side that they are asked about."""

from __future__ import annotations

from training.folding.engine.graph import Operation
from training.folding.engine.rule import Rule, Side
from training.folding.engine.rules.branches import BeforeConcat, BeforeSum, BehindConcat, BehindSum
from training.folding.engine.rules.chain import BeforeAffine, BehindAffine
from training.folding.engine.rules.flatten import BeforeFlatten, BehindFlatten
from training.folding.engine.rules.linear import BeforeLinear, BehindLinear
from training.folding.engine.rules.pads import PassBorderPad, PassPad
from training.folding.engine.rules.passage import PassAverage, PassMaximum, PassSame

_SIDES: tuple[Side, Side] = ("behind", "before")
_ALL: list[Rule] = [
    BehindLinear(),
    BeforeLinear(),
    BehindAffine(),
    BeforeAffine(),
    BehindFlatten(),
    BeforeFlatten(),
    BehindSum(),
    BeforeSum(),
    BehindConcat(),
    BeforeConcat(),
    *(
        passage(side)
        for passage in (PassSame, PassMaximum, PassAverage, PassPad, PassBorderPad)
        for side in _SIDES
    ),
]
RULES: dict[tuple[type[Operation], Side], Rule] = {
    (rule.operation, rule.side): rule for rule in _ALL
}
