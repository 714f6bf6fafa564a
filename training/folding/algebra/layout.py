"""Layouts: where the numbers of a tensor go when an operation only moves them.

Each axis is a product of factors, the outermost first, and both sides of an operation are made of
the same ones:

    transposing         (a, b, c)       to  (a, c, b)
    reshaping           (a, b c)        to  (a b, c)
    DepthToSpace (DCR)  (n, r q c, h, w)  to  (n, c, h r, w q)
    splitting, slicing  (n, c)          to  (n, c'), where c' are some places of c

A map per channel varies along some factors of one side. It is carried over to the other side as it
is, repeated along the factors that share an axis with those there. So it crosses any number of such
operations, even where the channels lie on several axes in between, as when they are shuffled.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from training.folding.algebra.affine import ChannelMap, FoldRefused

Size = int | str | None  # a number, a name that stands for one number, or unknown
Axes = tuple[tuple[int, ...], ...]  # the factors of each axis
T = TypeVar("T")


@dataclass(frozen=True)
class Layout:
    """The factors of both sides; what only one side has cannot be followed, or has size 1.

    Attributes:
        before, after: the factors of each axis, by number, the outermost first.
        sizes: of each factor before, None where it is not known.
        chosen: the places that are kept, of the factors that are cut; None where they are not
            known.
    """

    before: Axes
    after: Axes
    sizes: tuple[int | None, ...]
    chosen: Mapping[int, NDArray[np.intp] | None] = field(default_factory=dict)

    def forward(
        self, map_: ChannelMap, axes: tuple[int, ...]
    ) -> tuple[ChannelMap, tuple[int, ...]]:
        """Return the map of the output that does what a map of the input does, and its axes.

        Raises:
            FoldRefused: there is none, or the sizes that would prove it are not known.
        """
        found = _Factored.of(map_, axes, self.before, self.sizes)
        for factor, places in self.chosen.items():
            if found.varies_along(factor):
                found = found.taken(factor, _known(places))
        self._check_followed(found, self.after)
        return found.gathered(self.after, self._sizes_after())

    def backward(
        self, map_: ChannelMap, axes: tuple[int, ...], *, alone: bool
    ) -> tuple[ChannelMap, tuple[int, ...]]:
        """Return the map of the input that does what a map of the output does, and its axes.

        Args:
            map_: of the output.
            axes: on which it is.
            alone: whether nobody reads the numbers that are cut off; else they stay as they are.

        Raises:
            FoldRefused: there is none, or the sizes that would prove it are not known.
        """
        found = _Factored.of(map_, axes, self.after, self._sizes_after())
        cut = [f for f in self.chosen if found.varies_along(f) or not alone]
        places = {factor: _known(self.chosen[factor]) for factor in cut}
        if cut and not found.is_identity:
            found = found.scattered(places, self.sizes)
        self._check_followed(found, self.before)
        return found.gathered(self.before, self.sizes)

    def _check_followed(self, found: _Factored, side: Axes) -> None:
        """Refuse what varies along a factor that a side has not."""
        before, after = ({f for held in axes for f in held} for axes in (self.before, self.after))
        if set(found.factors) <= {factor for held in side for factor in held}:
            return
        unknown = any(self.sizes[factor] is None for factor in before ^ after)
        raise FoldRefused(_UNKNOWN if unknown else "mixes the channels with others")

    def _sizes_after(self) -> tuple[int | None, ...]:
        sizes = list(self.sizes)
        for factor, places in self.chosen.items():
            sizes[factor] = None if places is None else places.size
        return tuple(sizes)


@dataclass(frozen=True)
class _Factored:
    """Scale and shift along the factors that they vary along, (2, *sizes of these)."""

    values: NDArray[np.float64]
    factors: tuple[int, ...]

    @classmethod
    def of(
        cls, map_: ChannelMap, axes: tuple[int, ...], side: Axes, sizes: Sequence[int | None]
    ) -> _Factored:
        values = np.stack([map_.scale, map_.shift])
        if map_.scale.size == 1:
            return cls(values.reshape(2), ())
        factors = tuple(factor for axis in axes for factor in side[axis])
        shape = [
            size
            for axis, whole in zip(axes, map_.scale.shape, strict=True)
            for size in _factor_sizes(whole, [sizes[factor] for factor in side[axis]])
        ]
        return cls(values.reshape(2, *shape), factors).reduced()

    @property
    def is_identity(self) -> bool:
        return bool(np.all(self.values[0] == 1) and np.all(self.values[1] == 0))

    def varies_along(self, factor: int) -> bool:
        return factor in self.factors

    def reduced(self) -> _Factored:
        """Leave out the factors along which nothing varies."""
        values, factors = self.values, self.factors
        for place in reversed(range(len(factors))):
            first = values.take(np.zeros(1, np.intp), 1 + place)
            if np.array_equal(values, np.broadcast_to(first, values.shape)):
                values = first.squeeze(1 + place)
                factors = factors[:place] + factors[place + 1 :]
        return _Factored(values, factors)

    def taken(self, factor: int, places: NDArray[np.intp]) -> _Factored:
        """Keep some places of a factor."""
        axis = 1 + self.factors.index(factor)
        return _Factored(self.values.take(places, axis), self.factors).reduced()

    def scattered(
        self, places: Mapping[int, NDArray[np.intp]], sizes: Sequence[int | None]
    ) -> _Factored:
        """Put what stands at some places of factors there, and the identity everywhere else."""
        factors = (*self.factors, *(factor for factor in places if factor not in self.factors))
        values = self.values.reshape(self.values.shape + (1,) * (len(factors) - len(self.factors)))
        lengths: tuple[int, ...] = values.shape[1:]
        whole = [
            _known(sizes[factor]) if factor in places else size
            for factor, size in zip(factors, lengths, strict=True)
        ]
        kept = [
            places.get(factor, np.arange(size)) for factor, size in zip(factors, whole, strict=True)
        ]
        chosen = np.ix_(np.arange(2), *kept)
        result = np.zeros((2, *whole))
        result[0] = 1
        result[chosen] = values
        if not np.array_equal(result[chosen], np.broadcast_to(values, result[chosen].shape)):
            raise FoldRefused("takes a channel twice, with different scales or shifts")
        return _Factored(result, factors).reduced()

    def gathered(
        self, side: Axes, sizes: Sequence[int | None]
    ) -> tuple[ChannelMap, tuple[int, ...]]:
        """Return the map on the axes that hold the factors, repeated along their neighbours."""
        axes = tuple(axis for axis, held in enumerate(side) if set(held) & set(self.factors))
        wanted = [factor for axis in axes for factor in side[axis]]
        if not axes:
            return ChannelMap(*self.values.reshape(2, 1)), (1,)
        order = [self.factors.index(factor) for factor in wanted if factor in self.factors]
        values = self.values.transpose(0, *(1 + place for place in order))
        places = [1 + place for place, factor in enumerate(wanted) if factor not in self.factors]
        for place in places:
            values = np.expand_dims(values, place)
        shape = [
            size if factor in self.factors else _known(sizes[factor])
            for factor, size in zip(wanted, values.shape[1:], strict=True)
        ]
        lengths = [math.prod(shape[wanted.index(f)] for f in side[axis]) for axis in axes]
        whole = np.broadcast_to(values, (2, *shape)).reshape(2, *lengths)
        return ChannelMap(*whole), axes


def permuted(sizes: Sequence[Size], order: Sequence[int]) -> Layout:
    """Return the layout of a transposition: output axis k is input axis `order[k]`."""
    return Layout(
        tuple((axis,) for axis in range(len(sizes))),
        tuple((axis,) for axis in order),
        tuple(map(number, sizes)),
    )


def cut(sizes: Sequence[Size], chosen: Mapping[int, NDArray[np.intp] | None]) -> Layout:
    """Return the layout of taking some places of axes, `chosen` by axis."""
    whole = permuted(sizes, range(len(sizes)))
    return Layout(whole.before, whole.after, whole.sizes, dict(chosen))


def _factor_sizes(whole: int, sizes: list[int | None]) -> list[int]:
    """Return the sizes of an axis's factors, one of which may be what is left of its length."""
    known = math.prod(size for size in sizes if size is not None)
    unknown = sizes.count(None)
    if unknown > 1:
        raise FoldRefused(_UNKNOWN)
    if known == 0 or whole % known or (not unknown and whole != known):
        raise FoldRefused(f"has {known} channels there, and the map {whole}")
    return [whole // known if size is None else size for size in sizes]


_UNKNOWN = "moves numbers by sizes that are not known; export the network with fixed sizes"


def _known(value: T | None) -> T:
    if value is None:
        raise FoldRefused(_UNKNOWN)
    return value


def number(size: Size) -> int | None:
    """Return a size if it is a number, None where only its name is known, or nothing."""
    return size if isinstance(size, int) else None
