"""What two models return for the same inputs: the original and another that should be the same.

truth       the original in float64
algebra     the other in float64
unfolded    the original as onnxruntime runs it unoptimized
folded      the other, unoptimized and as it is served, whichever is farther from the truth
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from training.errors import FoldError, GraphError
from training.evaluation.onnx_runner import Optimization
from training.folding.proof.inputs import Feed, InputSpec
from training.folding.proof.precision import lowest_precision
from training.folding.proof.reference import Reference
from training.folding.proof.sessions import Runner
from training.folding.proof.tolerances import ERROR_FLOOR, FourLogits, largest_difference

Array = NDArray[Any]


LEVELS: tuple[Optimization, Optimization] = ("disable_all", "enable_all")
FLOOR_STEPS = 8  # of the weights' type: what rounding may make of numbers as large as 1


@dataclass(frozen=True)
class Evidence:
    """One output for the samples of one kind in one run."""

    output: str
    kind: str
    sizes: tuple[int, ...]
    four: FourLogits


class Models:
    """An original and another model, each ready to run in float64 and in onnxruntime.

    Args:
        original: the model that is right.
        other: the one that should be the same.
        algebra: the other one with weights that were never rounded; itself where there is none.

    Attributes:
        reference_note: why nothing was computed in float64, None if it was.

    Raises:
        FoldError: the models have other inputs or outputs, or onnxruntime cannot run them.
    """

    def __init__(
        self, original: ir.Model, other: ir.Model, algebra: ir.Model | None = None
    ) -> None:
        self.specs = input_specs(original)
        self.outputs = [str(value.name) for value in original.graph.outputs]
        _check_alike(self.specs, input_specs(other), self.outputs, other)
        dtype = lowest_precision(original)
        self.floor = _floor(dtype)
        self.reference_note: str | None = None
        self._references: tuple[Reference, Reference] | None = None
        try:
            self._references = Reference(original), Reference(algebra or other)
        except GraphError as error:
            self.reference_note = str(error)
        self._original = Runner(original, LEVELS)
        self._other = Runner(other, LEVELS)

    @property
    def notes(self) -> tuple[str, ...]:
        """What was computed otherwise than one would expect, and why."""
        widened = "bfloat16 was computed in float32, in which its weights are exact"
        return tuple(
            [f"nothing was computed in float64: {self.reference_note}"] * bool(self.reference_note)
            + [widened] * self._original.widened
        )

    def evidence(self, feeds: Iterable[Feed]) -> Iterator[Evidence]:
        """Yield what each output is for each kind of input.

        Inputs that the original does not take are left out: a size may be impossible.
        """
        for feed in feeds:
            try:
                originals = self._original.run(feed)
                truth = self._exact(0, feed, originals[0])
            except GraphError:
                continue
            # Lists of one array for each output; of runs, one list for each optimization level.
            algebra = self._exact(1, feed, truth)
            candidates = self._other.run(feed)
            for index, output in enumerate(self.outputs):
                unfolded, folded = (
                    _worst([one[index] for one in runs], truth[index])
                    for runs in (originals, candidates)
                )
                four = (truth[index], algebra[index], unfolded, folded)
                yield from self._by_kind(output, feed, four)

    def _exact(self, which: int, feed: Feed, otherwise: Sequence[Array]) -> list[Array]:
        """Return a model's outputs in float64; others where it has no reference."""
        if self._references is None:
            return [one.astype(np.float64) for one in otherwise]
        return self._references[which].run(feed.arrays)

    def _by_kind(
        self, output: str, feed: Feed, four: tuple[Array, Array, Array, Array]
    ) -> Iterator[Evidence]:
        truth, algebra, unfolded, folded = (_as_numbers(one) for one in four)
        every = (truth, algebra, unfolded, folded)
        batched = all(one.shape[:1] == (len(feed.kinds),) for one in every)
        sizes = tuple(next(iter(feed.arrays.values())).shape)
        for kind in dict.fromkeys(feed.kinds) if batched else ("all",):
            chosen: Any = [one == kind for one in feed.kinds] if batched else ...
            compared = FourLogits(
                truth[chosen], algebra[chosen], unfolded[chosen], folded[chosen], self.floor
            )
            yield Evidence(output, kind, sizes, compared)


def _as_numbers(array: Array) -> Array:
    """Return labels and indices as numbers too."""
    return array if array.dtype.kind in "fV" else array.astype(np.float64)


def input_specs(model: ir.Model) -> list[InputSpec]:
    """Return what a model takes; initializers that are inputs as well keep their values.

    Raises:
        FoldError: an input's type or rank is not known.
    """
    specs = []
    for value in model.graph.inputs:
        if value.is_initializer():
            continue
        if value.dtype is None or value.shape is None:
            raise FoldError(
                f"the input {value.name!r} has no known type and rank; export the model with them"
            )
        shape = tuple(size if isinstance(size, int) else None for size in value.shape)
        specs.append(InputSpec(str(value.name), value.dtype.numpy(), shape))
    return specs


def _check_alike(
    specs: list[InputSpec], others: list[InputSpec], outputs: list[str], other: ir.Model
) -> None:
    if [(one.name, one.dtype) for one in specs] != [(one.name, one.dtype) for one in others]:
        raise FoldError(
            f"the models take different inputs, {[one.name for one in specs]} and "
            f"{[one.name for one in others]}; compare models of one network"
        )
    names = [str(value.name) for value in other.graph.outputs]
    if len(names) != len(outputs):
        raise FoldError(
            f"the models have different outputs, {outputs} and {names}; compare models of one "
            "network"
        )


def _floor(dtype: np.dtype) -> float:
    if dtype == np.float32:
        return ERROR_FLOOR
    import ml_dtypes

    return FLOOR_STEPS * float(ml_dtypes.finfo(dtype).eps)  # type: ignore[no-untyped-call]


def _worst(candidates: Sequence[Array], truth: Array) -> Array:
    return max(candidates, key=lambda one: largest_difference(one, truth))
