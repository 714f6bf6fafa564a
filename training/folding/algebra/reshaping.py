"""Changes of shape: which factors two shapes of the same numbers have in common."""

from __future__ import annotations

import math
from collections.abc import Sequence

from training.folding.algebra.layout import Layout, Size, number


def reshaped(before: Sequence[Size], after: Sequence[Size]) -> Layout:
    """Return the layout of a change of shape that keeps the order of the numbers.

    Sizes that are known to be equal are matched from both ends, and others by what they have in
    common. What is left in the middle is one axis on one side, which has all the factors of the
    other side, or has factors that cannot be followed.
    """
    matching = _Matching(before, after)
    matching.match(first=True)
    matching.match(first=False)
    matching.join()
    return matching.layout()


class _Matching:
    """Factors of two shapes that hold the same numbers, found from the ends towards the middle."""

    def __init__(self, before: Sequence[Size], after: Sequence[Size]) -> None:
        self.sizes: list[int | None] = []
        self.left = [list(before), list(after)]  # of each axis, what is not yet matched
        self.open = [  # the axes of which something is left
            [axis for axis, size in enumerate(side) if size != 1] for side in self.left
        ]
        # By axis: the factors found from the front, and those found from the back, inner first.
        self.found: list[list[tuple[list[int], list[int]]]] = [
            [([], []) for _ in side] for side in self.left
        ]

    def match(self, *, first: bool) -> None:
        """Take equal sizes, or what two sizes have in common, from one end."""
        place = 0 if first else -1
        while all(self.open):
            axes = [side[place] for side in self.open]
            sizes = [side[axis] for side, axis in zip(self.left, axes, strict=True)]
            common = _common(sizes[0], sizes[1])
            if common is None:
                return
            factor = self._new(common)
            for which, (axis, size) in enumerate(zip(axes, sizes, strict=True)):
                self.found[which][axis][0 if first else 1].append(factor)
                rest = 1 if size == common else _quotient(size, common)
                self.left[which][axis] = rest
                if rest == 1:
                    self.open[which].pop(place)

    def join(self) -> None:
        """Give what is left on one side to the one axis that is left on the other."""
        for side, other in ((0, 1), (1, 0)):
            if len(self.open[other]) == 1:
                (whole,) = self.open[other]
                for axis in self.open[side]:
                    factor = self._new(self.left[side][axis])
                    self.found[side][axis][0].append(factor)
                    self.found[other][whole][0].append(factor)
                return
        for which, axes in enumerate(self.open):
            for axis in axes:
                self.found[which][axis][0].append(self._new(self.left[which][axis]))

    def layout(self) -> Layout:
        before, after = (
            tuple((*front, *reversed(back)) for front, back in side) for side in self.found
        )
        return Layout(before, after, tuple(self.sizes))

    def _new(self, size: Size) -> int:
        self.sizes.append(number(size))
        return len(self.sizes) - 1


def _common(one: Size, other: Size) -> Size:
    """Return the outer or inner factor that two sizes share, None where that is not known."""
    if one is None or other is None or 0 in (one, other):
        return None
    if one == other:
        return one
    if not (isinstance(one, int) and isinstance(other, int)):
        return None
    divisor = math.gcd(one, other)
    return divisor if divisor > 1 else None


def _quotient(size: Size, divisor: Size) -> int:
    assert isinstance(size, int), "names are matched whole"
    assert isinstance(divisor, int), "names are matched whole"
    return size // divisor
