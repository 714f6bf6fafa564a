"""Which of several switches closed a gap: Shapley's shares over the orders of throwing them.

A switch sets one factor to one level. Thrown one after another they lead from a start cell to an
end cell, and each adds what its step adds. That depends on the order, so a switch's share is the
mean of its increments over every order that the constraints admit, each equally likely:

    share_s = 1/|orders| sum_o (mean of the cell after s in o  -  mean of the cell before it)

Each order's increments add up to the gap, and so do the shares. A share is linear in the cell
means, hence a contrast with the interval of any contrast; the increments of single orders show how
far it depends on the order.

Reference:
    Shapley 1953, "A value for n-person games". Faigle and Kern 1992, "The Shapley value for
    cooperative games under precedence constraints", International Journal of Game Theory 21.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import permutations
from statistics import fmean

from training.studies.statistics.cells import Cell, cell_of

MAX_SWITCHES = 8  # 40,320 orders


@dataclass(frozen=True)
class Switch:
    """Sets `factor` to `level`; every switch named in `after` has been thrown before."""

    name: str
    factor: str
    level: str
    after: tuple[str, ...] = ()


@dataclass(frozen=True)
class Share:
    """One switch's part of the gap, as weights over cells."""

    switch: str
    exact: Mapping[Cell, Fraction]  # weights, which add up to 0; none is 0
    steps: tuple[tuple[Cell, Cell], ...]  # the cells before and after, one pair an order

    @property
    def weights(self) -> dict[Cell, float]:
        """The weights for `contrasts.contrast`."""
        return {cell: float(weight) for cell, weight in self.exact.items()}

    def increments(self, means: Mapping[Cell, float]) -> tuple[float, ...]:
        """Return what the switch adds in each order; their mean is the share."""
        return tuple(means[after] - means[before] for before, after in self.steps)


@dataclass(frozen=True)
class Dependence:
    """What a switch adds before another is thrown and after it, each the mean over such orders."""

    switch: str
    other: str
    before: float
    after: float


@dataclass(frozen=True)
class Attribution:
    """The gap between two cells, divided among the switches that lead from one to the other."""

    start: Cell
    end: Cell
    orders: tuple[tuple[str, ...], ...]  # names of the switches
    shares: tuple[Share, ...]  # one a switch, in the order given

    @property
    def cells(self) -> tuple[Cell, ...]:
        """Every cell that some order passes through: what has to be trained."""
        passed = {cell for share in self.shares for step in share.steps for cell in step}
        return tuple(sorted(passed))

    def strongest_dependence(self, means: Mapping[Cell, float]) -> Dependence | None:
        """Return which switch depends most on which other one; None where there is one order."""
        found = [
            Dependence(share.switch, other, fmean(before), fmean(after))
            for share in self.shares
            for other in self.orders[0]
            for before, after in [self._increments_around(share, other, means)]
            if before and after
        ]
        return max(found, key=_strength, default=None)

    def _increments_around(
        self, share: Share, other: str, means: Mapping[Cell, float]
    ) -> tuple[list[float], list[float]]:
        """Return what a switch adds in the orders where another comes later, and where earlier."""
        before: list[float] = []
        after: list[float] = []
        for order, added in zip(self.orders, share.increments(means), strict=True):
            gap = order.index(other) - order.index(share.switch)
            if gap:
                (before if gap > 0 else after).append(added)
        return before, after


def attribute(start: Mapping[str, str], switches: Sequence[Switch]) -> Attribution:
    """Return the shares of the switches, thrown in every admitted order from the start levels.

    Raises:
        ValueError: two switches have one name, a factor or a name in `after` is unknown, there are
            no switches or too many, no order is admitted, some order ends elsewhere, or a switch
            changes nothing.
    """
    _check(start, switches)
    walks = {order: list(_walk(start, order)) for order in _orders(switches)}
    if not walks:
        raise ValueError("no order is admitted: the switches wait for each other")
    ends = {cells[-1] for cells in walks.values()}
    if len(ends) > 1:
        raise ValueError(f"the end depends on the order: {sorted(ends)}; say what comes `after`")
    shares = tuple(
        _share(
            switch.name,
            tuple(
                (cells[order.index(switch)], cells[order.index(switch) + 1])
                for order, cells in walks.items()
            ),
        )
        for switch in switches
    )
    names = tuple(tuple(switch.name for switch in order) for order in walks)
    return Attribution(cell_of(start), ends.pop(), names, shares)


def _strength(found: Dependence) -> tuple[float, bool]:
    """Return the order of dependences; of the two of one pair, the one whose sign turns."""
    return round(abs(found.after - found.before), 9), found.before * found.after < 0


def _check(start: Mapping[str, str], switches: Sequence[Switch]) -> None:
    if not 1 <= len(switches) <= MAX_SWITCHES:
        raise ValueError(f"there are {len(switches)} switches; give 1 to {MAX_SWITCHES}")
    names = {switch.name for switch in switches}
    if len(names) < len(switches):
        raise ValueError("two switches have the same name")
    for switch in switches:
        if switch.factor not in start:
            raise ValueError(f"{switch.name!r} sets {switch.factor!r}, which is no factor")
        unknown = set(switch.after) - names
        if unknown:
            raise ValueError(f"{switch.name!r} comes after {min(unknown)!r}, which is no switch")


def _orders(switches: Sequence[Switch]) -> Iterator[tuple[Switch, ...]]:
    """Yield each order in which every switch comes after those that it names."""
    for order in permutations(switches):
        place = {switch.name: i for i, switch in enumerate(order)}
        if all(place[first] < place[switch.name] for switch in order for first in switch.after):
            yield order


def _walk(start: Mapping[str, str], order: Sequence[Switch]) -> Iterator[Cell]:
    """Yield the start cell, then the cell after each switch."""
    levels = dict(start)
    yield cell_of(levels)
    for switch in order:
        if levels[switch.factor] == switch.level:
            raise ValueError(f"{switch.name!r} changes nothing: it is {switch.level!r} before")
        levels[switch.factor] = switch.level
        yield cell_of(levels)


def _share(name: str, steps: tuple[tuple[Cell, Cell], ...]) -> Share:
    counts = Counter(after for _, after in steps)  # no cell is on both sides of one switch
    counts.subtract(before for before, _ in steps)
    exact = {cell: Fraction(count, len(steps)) for cell, count in counts.items()}
    return Share(name, exact, steps)
