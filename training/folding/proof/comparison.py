"""An original and another model, run one after the other on the same inputs, and judged."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
from onnx_ir.passes import common

from training.errors import FoldError, GraphError
from training.folding.onnx_frontend.shapes import infer_shapes
from training.folding.proof.evidence import Evidence, Results, floor_of
from training.folding.proof.inputs.seeded import Feed, given_feeds
from training.folding.proof.inputs.sizes import InputSpec, input_specs, pinned_specs
from training.folding.proof.judging import imprecise_kinds, judge
from training.folding.proof.own_rounding import noise_nearby
from training.folding.proof.running.original import (
    LEVELS,
    Tensors,
    Trial,
    run_reference,
    run_sessions,
    try_original,
)
from training.folding.proof.running.precision import lowest_precision
from training.folding.proof.running.randomness import drawing_nodes, seeded
from training.folding.proof.running.sessions import give_back_memory, is_widened
from training.folding.proof.tolerances import largest_difference
from training.folding.proof.verdict import Verdict

SIZES = ("Shape", "Size")  # they read no numbers
STEPS = ("Ceil", "Floor", "Hardmax", "Round", "Sign")  # numbers of numbers, with jumps
MAX_FAULTS = 8  # that are told
NEXT = 0.01  # of the scale: rows of a batch are the same samples alone, up to rounding


@dataclass(frozen=True)
class Comparison:
    """An original and another model, each run by itself.

    Attributes:
        original: the model that is right.
        other: the one that should be the same.
        algebra: makes the other one with weights that were never rounded; None where it has none.
        data: own inputs: .npz by input name, or .npy.
        seed: of the inputs.
        sizes: of free axes, by symbol, or by `INPUT.AXIS`.
    """

    original: ir.Model
    other: ir.Model
    algebra: Callable[[], ir.Model] | None = None
    data: Path | None = None
    seed: int = 0
    sizes: Mapping[str, int] = field(default_factory=dict)

    def verdict(self) -> Verdict:
        """Return the verdict.

        Raises:
            FoldError: the models differ in inputs or outputs, or `data` or `sizes` do not fit.
        """
        specs = input_specs(self.original)
        _check_alike(specs, self.original, self.other)
        specs = pinned_specs(specs, self.sizes)
        given = [] if self.data is None else given_feeds(self.data, specs)
        drawing = drawing_nodes(self.original)
        original, other = (
            (seeded(self.original), seeded(self.other)) if drawing else (self.original, self.other)
        )
        try:
            trial = try_original(
                original,
                specs,
                given,
                seed=self.seed,
                anew=bool(drawing),
                discontinuous=decides(original),
            )
        except GraphError as error:
            return Verdict(untested=f"{error}; the original must run before a fold can be proved")
        problem = _problem(trial)
        if problem is not None:
            return Verdict(untested=problem)
        return self._judged(original, other, trial, [_named(node) for node in drawing])

    def _judged(
        self, original: ir.Model, other: ir.Model, trial: Trial, drawing: Sequence[str]
    ) -> Verdict:
        anew, notes = bool(drawing), _notes(trial)
        served = _sessions(original, trial, anew=anew)
        truth: list[Tensors | GraphError] = [GraphError("")] * len(trial.feeds)
        algebra = truth
        if drawing:
            notes.append(
                f"the numbers that {', '.join(drawing)} draws were drawn from one seed in both, "
                "and nothing was computed in float64"
            )
        else:
            truth = _reference(lambda: original, trial)
            algebra = truth if self.algebra is None else _reference(self.algebra, trial)
            notes += _reference_notes(truth, algebra)
        others = [_attempts(other, trial.feeds, level, anew=anew) for level in LEVELS]
        faults: dict[str, None] = {}
        evidence: list[Evidence] = []
        floor = floor_of(lowest_precision(original))
        for place, feed in enumerate(trial.feeds):
            runs = [one[place] for one in others]
            failed = next((run for run in runs if isinstance(run, GraphError)), None)
            if failed is not None:
                faults[f"the other model does not run: {failed} ({feed})"] = None
                continue
            for result in _results(trial, place, served, truth, algebra, runs):
                if isinstance(result, str) or result.fault is not None:
                    faults[result if isinstance(result, str) else str(result.fault)] = None
                else:
                    evidence += result.evidence(floor)
        if is_widened(original):
            notes.append("bfloat16 was computed in float32, in which its weights are exact")
        exact = self.algebra is not None and not drawing
        told = tuple(faults)[:MAX_FAULTS]
        verdict = judge(evidence, tuple(notes), exact=exact, faults=told)
        if verdict.is_imprecise and not drawing and not trial.nudged:
            nearby = noise_nearby(original, _of_kinds(trial, imprecise_kinds(evidence)), floor)
            worst = max(nearby.values(), default=0.0)
            notes.append(f"on inputs a little off the original errs by {worst:.1e} of the scale")
            verdict = judge(evidence, tuple(notes), exact=exact, faults=told, nearby=nearby)
        return replace(verdict, example=min(trial.feeds, key=_elements))


def _of_kinds(trial: Trial, kinds: set[str]) -> list[Feed]:
    """Return the inputs with samples of some kinds; the samples of a larger batch are in it."""
    return [
        feed
        for place, feed in enumerate(trial.feeds)
        if ("all" in kinds or kinds & set(feed.kinds)) and _whole(trial, place) is None
    ]


def _check_alike(specs: list[InputSpec], original: ir.Model, other: ir.Model) -> None:
    others = input_specs(other)
    if [(one.name, one.dtype) for one in specs] != [(one.name, one.dtype) for one in others]:
        raise FoldError(
            f"the models take different inputs, {[one.name for one in specs]} and "
            f"{[one.name for one in others]}; compare models of one network"
        )
    outputs, names = ([str(v.name) for v in one.graph.outputs] for one in (original, other))
    if len(names) != len(outputs):
        raise FoldError(
            f"the models have different outputs, {outputs} and {names}; compare models of one "
            "network"
        )


def decides(model: ir.Model) -> bool:
    """Whether a model makes anything but numbers of numbers: there the last bit may turn a label.

    Comparing sizes decides nothing: they are no floating-point numbers.
    """
    copy = model.clone()
    common.InlinePass()(copy)
    infer_shapes(copy)
    return any(_decides(node) for graph in copy.graphs() for node in graph)


def _decides(node: ir.Node) -> bool:
    if node.op_type in SIZES or not any(_may_be_float(value) for value in node.inputs):
        return False
    kinds = [value.dtype for value in node.outputs if value.dtype is not None]
    return node.op_type in STEPS or any(not kind.is_floating_point() for kind in kinds)


def _may_be_float(value: ir.Value | None) -> bool:
    return value is not None and (value.dtype is None or value.dtype.is_floating_point())


def _problem(trial: Trial) -> str | None:
    """Return why nothing can be compared, and the remedy."""
    if not trial.feeds:
        feed, message = trial.refused[0] if trial.refused else ("", "there are no inputs")
        more = f", nor on {len(trial.refused) - 1} others" if len(trial.refused) > 1 else ""
        return (
            f"none of the inputs that were tried ran: {message} (on {feed}{more}); give some with "
            "--data, or free sizes with --size NAME=VALUE"
        )
    if not trial.repeats:
        return (
            f"the original returns other numbers for the same inputs ({trial.feeds[0]}): it draws "
            "them, or keeps a state; take that away, or give it a seed"
        )
    return None


def _notes(trial: Trial) -> list[str]:
    notes = [
        f"{count} of {len(trial.refused) + len(trial.feeds)} runs were left out, {message}"
        for message, count in _counted(trial.refused).items()
    ]
    notes += [
        f"no input enters the {body}; give one that does with --data" for body in trial.unentered
    ]
    return notes


def _counted(refused: Sequence[tuple[str, str]]) -> dict[str, int]:
    """Return how often each message came, with the first input that it came for."""
    first: dict[str, str] = {}
    for feed, message in refused:
        first.setdefault(message, feed)
    counts = Counter(message for _, message in refused)
    return {f"{message} (first on {first[message]})": count for message, count in counts.items()}


def _sessions(original: ir.Model, trial: Trial, *, anew: bool) -> list[Tensors]:
    """Return what the original returns as it is served; unoptimized where it does not run so."""
    runs = _attempts(original, trial.feeds, "enable_all", anew=anew)
    return [
        unoptimized if isinstance(run, GraphError) else run
        for run, unoptimized in zip(runs, trial.outputs, strict=True)
    ]


def _attempts(
    model: ir.Model, feeds: Sequence[Feed], level: Any, *, anew: bool
) -> list[Tensors | GraphError]:
    try:
        return run_sessions(model, feeds, level, anew=anew)
    except GraphError as error:
        return [error] * len(feeds)


def _reference(model: Callable[[], ir.Model], trial: Trial) -> list[Tensors | GraphError]:
    """Return a model's outputs in float64; samples that ran in a larger batch are taken from it."""
    own = [place for place in range(len(trial.feeds)) if _whole(trial, place) is None]
    give_back_memory()
    try:
        runs = run_reference(model(), [trial.feeds[place] for place in own])
    except GraphError as error:
        return [error] * len(trial.feeds)
    known = {
        place: _of_the_same_axes(run, trial.outputs[place])
        for place, run in zip(own, runs, strict=True)
    }
    for place, feed in enumerate(trial.feeds):
        whole = _whole(trial, place)
        if whole is not None:
            run = known[whole]
            known[place] = (
                run
                if isinstance(run, GraphError)
                else {name: one[list(feed.rows)] for name, one in run.items()}
            )
    return [known[place] for place in range(len(trial.feeds))]


def _of_the_same_axes(run: Tensors | GraphError, served: Tensors) -> Tensors | GraphError:
    """Return a run of the reference, or that it is none: it has optional tensors in a list."""
    if isinstance(run, GraphError):
        return run
    axes, wanted = ([one.ndim for one in every.values()] for every in (run, served))
    if axes != wanted:
        return GraphError(
            f"ONNX's reference returns tensors with {axes} axes, and onnxruntime with {wanted}"
        )
    return run


def _whole(trial: Trial, place: int) -> int | None:
    """Return which run holds the samples of another, None where each must be computed itself."""
    feed = trial.feeds[place]
    whole = next((i for i, one in enumerate(trial.feeds) if one is feed.whole), None)
    if whole is None:
        return None
    outputs, rows = trial.outputs[place], list(feed.rows)
    for name, one in trial.outputs[whole].items():
        if one.dtype.kind != "f" or one.ndim == 0 or len(one) != len(trial.feeds[whole].kinds):
            return None
        if name not in outputs or outputs[name].shape != one[rows].shape:
            return None
        scale = np.abs(one[rows]).max(initial=0.0)
        if not largest_difference(outputs[name], one[rows]) <= NEXT * scale:
            return None
    return whole


def _reference_notes(
    truth: Sequence[Tensors | GraphError], algebra: Sequence[Tensors | GraphError]
) -> list[str]:
    failed = [str(one) for one in (*truth, *algebra) if isinstance(one, GraphError)]
    every = all(isinstance(one, GraphError) for one in truth)
    what = "nothing was" if every else f"{len(failed)} runs were not"
    return [f"{what} computed in float64: {failed[0]}"] if failed else []


def _results(
    trial: Trial,
    place: int,
    served: Sequence[Tensors],
    truth: Sequence[Tensors | GraphError],
    algebra: Sequence[Tensors | GraphError],
    others: Sequence[Any],
) -> Iterator[Results | str]:
    """Yield each output of one run, or what is wrong with it; outputs go by their order."""
    served_too = list(served[place].values())
    candidates = [list(one.values()) for one in others]
    exact, folded = (_values(one[place]) for one in (truth, algebra))
    nudged = [list(one.values()) for one in trial.nudged[place]] if trial.nudged else []
    for index, (name, array) in enumerate(trial.outputs[place].items()):
        if any(index >= len(one) for one in candidates):
            yield f"the output {name!r} is missing in one of the models ({trial.feeds[place]})"
            return
        yield Results(
            name,
            trial.feeds[place],
            _at(exact, index),
            _at(folded, index),
            [array, *served_too[index : index + 1]],
            [one[index] for one in nudged if index < len(one)],
            [one[index] for one in candidates],
        )


def _elements(feed: Feed) -> int:
    return sum(array.size for array in feed.arrays.values())


def _values(run: Tensors | GraphError) -> list[Any]:
    return [] if isinstance(run, GraphError) else list(run.values())


def _at(values: Sequence[Any], index: int) -> Any | None:
    return values[index] if index < len(values) else None


def _named(node: ir.Node) -> str:
    return str(node.name or node.outputs[0].name)
