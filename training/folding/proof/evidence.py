"""Four sets of numbers for the same inputs: of the original and of another that should be the same.

truth       the original in float64
algebra     the other in float64
unfolded    the original as onnxruntime runs it unoptimized
folded      the other, unoptimized and as it is served, whichever is farther from the truth

An element says something where the original is finite in all its runs, and where rounding does not
decide it: a label, and how many there are, may turn on the last bit. Such the original itself must
return alike in all its runs, on inputs a little off as well.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from training.folding.proof.inputs.seeded import Feed
from training.folding.proof.tolerances import ERROR_FLOOR, FourLogits, largest_difference

Array = NDArray[Any]

Skipped = Literal["not finite", "rounding", "empty"]
FLOATS, TEXTS = "fV", "OSU"  # kinds of numpy's types; V is bfloat16
JUMP = 0.01  # of the scale: what nothing but a decision makes of inputs that little off
FLOOR_STEPS = 8  # of the weights' type: what rounding may make of numbers as large as 1


@dataclass(frozen=True)
class Evidence:
    """One output for the samples of one kind in one run.

    Attributes:
        exact: whether both models were computed in float64 here.
        skipped: why nothing is compared, None where something is.
    """

    output: str
    kind: str
    sizes: tuple[int, ...]
    four: FourLogits
    exact: bool = True
    skipped: Skipped | None = None


@dataclass(frozen=True)
class Results:
    """One output for one input, of every run.

    Attributes:
        truth, algebra: in float64; None where that could not be computed.
        originals: unoptimized, and as it is served.
        nudged: of the original for inputs a little off; none where nothing turns on the last bit.
        others: of the other model, unoptimized and as it is served.
    """

    output: str
    feed: Feed
    truth: Array | None
    algebra: Array | None
    originals: Sequence[Array]
    nudged: Sequence[Array]
    others: Sequence[Array]

    @property
    def fault(self) -> str | None:
        """What the models differ in besides numbers, None where they do not."""
        original = self.originals[0]
        for other in () if self._shape_is_undecided else self.others:
            if other.shape != original.shape:
                return (
                    f"the output {self.output!r} is {original.shape} in one and {other.shape} in "
                    f"the other ({self.feed})"
                )
            if (other.dtype.kind in TEXTS) != (original.dtype.kind in TEXTS):
                return f"the output {self.output!r} holds texts in one of the models only"
        return None

    def evidence(self, floor: float) -> Iterator[Evidence]:
        """Yield what is compared, kind by kind; `floor` as in `FourLogits`."""
        sizes = tuple(next(iter(self.feed.arrays.values())).shape) if self.feed.arrays else ()
        if self._shape_is_undecided or not self.originals[0].size:
            reason: Skipped = "rounding" if self._shape_is_undecided else "empty"
            nothing = np.zeros(0)
            four = FourLogits(nothing, nothing, nothing, nothing, floor)
            yield Evidence(self.output, "all", sizes, four, skipped=reason)
            return
        floats = self.originals[0].dtype.kind in FLOATS
        arrays, counts = self._numbers() if floats else self._codes()
        for kind, chosen in _kinds(self.feed.kinds, arrays[0]):
            seen = counts[chosen]
            parts = [one[chosen] if seen.all() else one[chosen][seen] for one in arrays]
            truth, algebra, unfolded, folded = parts
            yield Evidence(
                self.output,
                kind,
                sizes,
                FourLogits(truth, algebra, unfolded, folded, floor),
                exact=self._exact,
                skipped=None if seen.any() else "not finite" if floats else "rounding",
            )

    @property
    def _shape_is_undecided(self) -> bool:
        return len({one.shape for one in self._every}) > 1

    @property
    def _every(self) -> list[Array]:
        truth = [] if self.truth is None else [self.truth]
        return [*self.originals, *truth, *self.nudged]

    @property
    def _exact(self) -> bool:
        alike = self.algebra is not None and self.algebra.shape == self.originals[0].shape
        return self.truth is not None and alike

    def _numbers(self) -> tuple[list[Array], NDArray[np.bool_]]:
        """Return truth, algebra, unfolded and folded, and where they say something."""
        truth = self.originals[0].astype(np.float64) if self.truth is None else self.truth
        algebra = self.algebra if self._exact and self.algebra is not None else truth
        counts = np.all([np.isfinite(one.astype(np.float64)) for one in self._every], axis=0)
        scale = float(np.abs(truth[counts]).max(initial=0.0))
        for nudged in self.nudged:
            with np.errstate(invalid="ignore"):
                counts = counts & (np.abs(nudged - truth) <= JUMP * scale)
        unfolded, folded = (_worst(one, truth, counts) for one in (self.originals, self.others))
        return [truth, algebra, unfolded, folded], np.asarray(counts)

    def _codes(self) -> tuple[list[Array], NDArray[np.bool_]]:
        """Return labels and texts as numbers: 1, and 2 where the other model returns others."""
        every = self._every
        alike = np.all([one == every[0] for one in every], axis=0)
        ones = np.ones(every[0].shape)
        others = [np.where(one == every[0], 1.0, 2.0) for one in self.others]
        return [ones, ones, ones, np.max(others, axis=0)], np.asarray(alike)


def _kinds(kinds: tuple[str, ...], array: Array) -> Iterator[tuple[str, Any]]:
    """Yield each kind and its samples; all at once where the first axis does not count samples."""
    if array.ndim == 0 or array.shape[0] != len(kinds):
        yield "all", ...
        return
    for kind in dict.fromkeys(kinds):
        yield kind, np.array([one == kind for one in kinds])


def floor_of(dtype: np.dtype) -> float:
    """Return what rounding alone may make of numbers as large as 1, in a type of weights."""
    if dtype == np.float32:
        return ERROR_FLOOR
    import ml_dtypes

    return FLOOR_STEPS * float(ml_dtypes.finfo(dtype).eps)  # type: ignore[no-untyped-call]


def _worst(candidates: Sequence[Array], truth: Array, counts: NDArray[np.bool_]) -> Array:
    return max(candidates, key=lambda one: largest_difference(one[counts], truth[counts]))
