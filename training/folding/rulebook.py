"""All rules, by the operation and the side that they are asked about."""

from __future__ import annotations

from typing import TYPE_CHECKING

from training.folding.rules.branches import BeforeConcat, BeforeSum, BehindConcat, BehindSum
from training.folding.rules.flatten import BeforeFlatten, BehindFlatten
from training.folding.rules.linear import BeforeLinear, BehindLinear
from training.folding.rules.norms import BeforeAffine, BehindAffine
from training.folding.rules.pads import PassBorderPad, PassPad
from training.folding.rules.passage import PassAverage, PassMaximum, PassSame

if TYPE_CHECKING:
    from training.folding.graph import Operation
    from training.folding.rules import Rule, Side

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
