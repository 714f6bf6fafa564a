"""What models return for the same inputs, each model run by itself: only one is in memory."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from training.errors import GraphError
from training.evaluation.onnx_runner import Optimization
from training.folding.algebra.affine import FoldRefused
from training.folding.onnx_frontend.constants import Constants
from training.folding.proof.inputs.seeded import (
    GENTLE_KINDS,
    Feed,
    feeds,
    feeds_with_values,
    nudged,
    single_feed,
)
from training.folding.proof.inputs.sizes import InputSpec, Sizes, sizes_to_try
from training.folding.proof.running.coverage import PREFIX, Marked, marked
from training.folding.proof.running.reference import Reference
from training.folding.proof.running.sessions import (
    Session,
    give_back_memory,
    named_tensors,
    written,
)

Tensors = dict[str, NDArray[Any]]

LEVELS: tuple[Optimization, Optimization] = ("disable_all", "enable_all")
COMPARISONS = ("Equal", "Greater", "GreaterOrEqual", "Less", "LessOrEqual")
MAX_VALUES = 32  # that a graph compares with, and that are tried


@dataclass
class Trial:
    """The inputs that an original takes, and what it returned as it is written.

    Attributes:
        feeds, outputs: those that it ran with.
        nudged: what it returned for inputs a little off; rounding decides where that differs.
        refused: why it did not run with others: input and message.
        unentered: bodies of control flow that no input enters.
        repeats: whether it returns the same for the same inputs.
    """

    feeds: list[Feed] = field(default_factory=list)
    outputs: list[Tensors] = field(default_factory=list)
    nudged: list[list[Tensors]] = field(default_factory=list)
    refused: list[tuple[str, str]] = field(default_factory=list)
    unentered: tuple[str, ...] = ()
    repeats: bool = True


class Loader:
    """Runs a model at one level; loads it anew for each run where it draws numbers."""

    def __init__(self, path: Path, level: Optimization, *, anew: bool) -> None:
        self._path, self._level, self._anew = path, level, anew
        self._session = Session(path, level)

    def run(self, feed: Feed) -> Tensors:
        """Return the outputs by name.

        Raises:
            GraphError: the model does not take these inputs.
        """
        session = Session(self._path, self._level) if self._anew else self._session
        return session.run(feed)


def try_original(
    model: ir.Model,
    specs: Sequence[InputSpec],
    given: Sequence[Feed],
    *,
    seed: int,
    anew: bool,
    discontinuous: bool,
) -> Trial:
    """Return which inputs an original takes, and what it returns for them, unoptimized.

    Raises:
        GraphError: onnxruntime cannot load it.
    """
    give_back_memory()
    with_marks = marked(model)
    trial = Trial()
    with written(model if with_marks is None else with_marks.model) as path:
        session = Loader(path, "disable_all", anew=anew)
        entered = _Entered(with_marks)
        for feed in [*given, *_usual_feeds(session, specs, trial, seed)]:
            _try(session, feed, trial, entered)
        for feed in _feeds_that_enter(model, specs, trial, entered, seed):
            _try(session, feed, trial, entered, only_new=True)
        if not _is_finite(trial):
            sizes = _sizes_that_ran(specs, trial)
            for feed in feeds(specs, sizes, GENTLE_KINDS, seed):
                _try(session, feed, trial, entered)
        if trial.feeds:
            again = _attempt(session, trial.feeds[0])
            trial.repeats = not isinstance(again, GraphError) and same(
                _without_marks(again), trial.outputs[0]
            )
        if discontinuous:
            trial.nudged = [
                [
                    _without_marks(run)
                    for run in (_attempt(session, one) for one in nudged(feed))
                    if not isinstance(run, GraphError)
                ]
                for feed in trial.feeds
            ]
    trial.unentered = entered.missing()
    return trial


def run_sessions(
    model: ir.Model, feeds: Sequence[Feed], level: Optimization, *, anew: bool
) -> list[Tensors | GraphError]:
    """Return what a model returns for each input at one level, or why it does not run.

    Raises:
        GraphError: onnxruntime cannot load it.
    """
    give_back_memory()
    with written(model) as path:
        session = Loader(path, level, anew=anew)
        return [_attempt(session, feed) for feed in feeds]


def run_reference(model: ir.Model, feeds: Sequence[Feed]) -> list[Tensors | GraphError]:
    """Return what a model returns in float64 for each input, or why it cannot be computed.

    Raises:
        GraphError: an operator has no reference implementation.
    """
    reference = Reference(model)
    results: list[Tensors | GraphError] = []
    for feed in feeds:
        try:
            results.append(named_tensors(reference.outputs, reference.run(feed.arrays)))
        except GraphError as error:
            results.append(error)
    return results


def same(one: Mapping[str, NDArray[Any]], other: Mapping[str, NDArray[Any]]) -> bool:
    """Whether two runs returned the same, bit for bit."""
    return one.keys() == other.keys() and all(
        np.array_equal(one[name], other[name], equal_nan=one[name].dtype.kind == "f")
        for name in one
    )


def _attempt(session: Loader, feed: Feed) -> Tensors | GraphError:
    try:
        return session.run(feed)
    except GraphError as error:
        return error


class _Entered:
    """The bodies that were entered so far."""

    def __init__(self, with_marks: Marked | None) -> None:
        self._names = () if with_marks is None else with_marks.bodies
        self._marks = np.zeros(len(self._names), bool)

    def note(self, tensors: Tensors) -> bool:
        """Note the marks of a run; return whether there is a new one."""
        before = self._marks.sum()
        for name, value in tensors.items():
            if name.startswith(PREFIX):
                self._marks |= value > 0
        return bool(self._marks.sum() > before)

    def missing(self) -> tuple[str, ...]:
        pairs = zip(self._names, self._marks, strict=True)
        return tuple(name for name, seen in pairs if not seen)


def _try(
    session: Loader, feed: Feed, trial: Trial, entered: _Entered, *, only_new: bool = False
) -> None:
    outputs = _attempt(session, feed)
    if isinstance(outputs, GraphError):
        if not only_new:
            trial.refused.append((str(feed), str(outputs)))
        return
    new = entered.note(outputs)
    if new or not only_new:
        trial.feeds.append(feed)
        trial.outputs.append(_without_marks(outputs))


def _without_marks(tensors: Tensors) -> Tensors:
    return {name: one for name, one in tensors.items() if not name.startswith(PREFIX)}


def _usual_feeds(
    session: Loader, specs: Sequence[InputSpec], trial: Trial, seed: int
) -> Iterator[Feed]:
    """Yield the inputs of all kinds in two sizes with which the original runs, if there are."""
    usual, larger = sizes_to_try(specs)
    running = [sizes for sizes in usual if _runs(session, specs, sizes, trial)]
    for sizes in larger if len(running) < len(usual) else ():
        if _runs(session, specs, sizes, trial):
            running.append(sizes)
            break
    yield from feeds(specs, running, seed=seed)


def _runs(session: Loader, specs: Sequence[InputSpec], sizes: Sizes, trial: Trial) -> bool:
    feed = single_feed(specs, sizes)
    outputs = _attempt(session, feed)
    if isinstance(outputs, GraphError):
        trial.refused.append((str(feed), str(outputs)))
        return False
    return True


def _sizes_that_ran(specs: Sequence[InputSpec], trial: Trial) -> list[Sizes]:
    usual, larger = sizes_to_try(specs)
    shapes = {_shapes(feed) for feed in trial.feeds}
    return [s for s in (*usual, *larger) if _shapes(single_feed(specs, s)) in shapes][:1]


def _shapes(feed: Feed) -> tuple[tuple[int, ...], ...]:
    return tuple(array.shape for array in feed.arrays.values())


def _feeds_that_enter(
    model: ir.Model, specs: Sequence[InputSpec], trial: Trial, entered: _Entered, seed: int
) -> Iterator[Feed]:
    """Yield inputs with the values that the graph compares with, as long as bodies are missing."""
    sizes = _sizes_that_ran(specs, trial)
    if not entered.missing() or not sizes:
        return
    for feed in feeds_with_values(specs, sizes[0], compared_values(model), seed):
        if not entered.missing():
            return
        yield feed


def compared_values(model: ir.Model) -> list[float]:
    """Return the numbers that a graph compares with, and those next to them."""
    values: dict[float, None] = {0.0: None, 1.0: None}
    constants = Constants(model.opset_imports.get("", 1))
    graphs = [*model.graphs(), *(function.graph for function in model.functions.values())]
    for node in (node for graph in graphs for node in graph if node.op_type in COMPARISONS):
        for value in node.inputs:
            constant = None if value is None else _constant(value, constants)
            if constant is not None and constant.size <= MAX_VALUES:
                for number in constant.astype(np.float64).reshape(-1):
                    values |= dict.fromkeys((float(number), number - 1.0, number + 1.0))
    return [value for value in values if np.isfinite(value)][: 3 * MAX_VALUES]


def _constant(value: ir.Value, constants: Constants) -> NDArray[Any] | None:
    """Return what a tensor is in every run, if it is made of numbers."""
    tensor = value.const_value
    if tensor is None and value.producer() is not None and constants.holds(value):
        try:
            array = constants.array(value)
        except FoldRefused:
            return None
        return array if _is_number(array) else None
    if tensor is None or tensor.dtype == ir.DataType.STRING:
        return None
    return tensor.numpy()


def _is_number(value: object) -> bool:
    return np.asarray(value).dtype.kind in "iuf"


def _is_finite(trial: Trial) -> bool:
    """Whether every number of every run is finite."""
    arrays = [one for outputs in trial.outputs for one in outputs.values()]
    return all(bool(np.isfinite(one).all()) for one in arrays if one.dtype.kind == "f")
