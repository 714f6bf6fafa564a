"""An ONNX model folded, proved, measured and written: one use case for the command and Python."""

from __future__ import annotations

import shutil
import statistics
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import onnx
import onnx_ir as ir

from training.errors import FoldError, FoldFaultError, GraphError, UntestedError, VerificationError
from training.evaluation.onnx_runner import first_line
from training.folding.engine.report_row import Row
from training.folding.fold_text import fold_html, fold_text, total_of
from training.folding.onnx_frontend import FoldedModel, fold_model, read_model, write_model
from training.folding.onnx_frontend.files import check_model, external_tensors, parse_model
from training.folding.proof.layer_errors import layer_errors
from training.folding.proof.prove import prove_fold
from training.folding.proof.running.sessions import Session, written
from training.folding.proof.verdict import Verdict

PROOF_KEY, UNPROVED = "foldnorm.proof", "none (--no-proof)"  # of a model's metadata
ROUNDS = 30


@dataclass(frozen=True)
class Options:
    """How a model is folded and proved.

    Attributes:
        clones: whether layers and weights with several readers may be copied.
        constants: whether initializers that are inputs as well are constants.
        data: own inputs for the proof: .npz by input name, or .npy.
        seed: of the inputs of the proof.
        sizes: of free axes in the proof, by symbol or `INPUT.AXIS`.
        proof: whether anything is proved.
    """

    clones: bool = False
    constants: bool = False
    data: Path | None = None
    seed: int = 0
    sizes: Mapping[str, int] | None = None
    proof: bool = True


@dataclass(frozen=True, repr=False)
class OnnxFold:
    """An ONNX model without the batch norms that could go, and the proof. Printed, it is a table.

    Attributes:
        name: what messages call the model: its file, where it has one.
        errors: for each row the error of that fold by itself.
        verdict: None where nothing was to be proved.
    """

    name: Path
    original: ir.Model
    folded: FoldedModel
    errors: tuple[float | None, ...]
    verdict: Verdict | None

    @property
    def model(self) -> onnx.ModelProto:
        """The folded model, as `onnx.save` takes it."""
        return ir.to_proto(self.folded.model)

    @property
    def rows(self) -> tuple[Row, ...]:
        """What became of every batch norm: which layers took it up, or the reason why it stays."""
        return self.folded.rows

    def __repr__(self) -> str:
        return fold_text(self.rows, total_of(self.rows, self.verdict))

    def _repr_html_(self) -> str:
        """Return what a notebook shows."""
        return fold_html(self.rows, total_of(self.rows, self.verdict))

    def check(self) -> None:
        """Raise unless the fold is proved, or was not to be.

        Raises:
            VerificationError: the proof fails.
            UntestedError: nothing could be compared.
        """
        verdict = self.verdict
        if verdict is None or verdict.holds:
            return
        if verdict.outcome == "untested":
            raise UntestedError(
                f"{self.name}: the fold could not be tested, nothing was written: "
                f"{verdict.untested}; or fold without a proof, with --no-proof"
            )
        faults = f": {verdict.faults[0]}" if verdict.faults else ""
        raise VerificationError(f"{self.name}: the proof fails, nothing was written{faults}")

    def write(self, output: Path) -> None:
        """Write the folded model; where nothing was folded, the original, byte for byte.

        Raises:
            FoldFaultError: the folded model is invalid, and the original is not.
            FoldError: it cannot be written; what was there before is still there.
        """
        if self.folded.unchanged and self.name.is_file():
            _copy(self.name, self.original, output)
            return
        if self.verdict is None and not self.folded.unchanged:
            self.folded.model.metadata_props[PROOF_KEY] = UNPROVED
        write_model(self.folded.model, output, self._check_file)

    def _check_file(self, path: Path) -> None:
        """Refuse a file that is invalid where the original is valid: a fault of this program."""
        for problem_of in (_checkers_problem, _runtimes_problem):
            problem = problem_of(path)
            if problem is None:
                continue
            with written(self.original) as original:
                if problem_of(original) is not None:
                    continue
            raise FoldFaultError(
                f"{self.name}: the folded model is invalid ({problem}); that is a fault of "
                "Foldnorm and not of the model, and nothing was written; please report it, with "
                "the model"
            )


def fold_file(path: Path, options: Options) -> OnnxFold:
    """Return the fold of a file.

    Raises:
        FoldError: it cannot be read, or the options do not fit it.
    """
    return _fold(path, read_model(path), options)


def fold_proto(proto: onnx.ModelProto, options: Options) -> OnnxFold:
    """Return the fold of a loaded model, which is not changed.

    Raises:
        FoldError: it cannot be read, or the options do not fit it.
    """
    return _fold(Path("the ONNX model"), read_proto(proto), options)


def read_proto(proto: onnx.ModelProto) -> ir.Model:
    """Return a loaded model as it is folded.

    Raises:
        FoldError: it cannot be read.
    """
    name, copy = Path("the ONNX model"), onnx.ModelProto()
    copy.CopyFrom(proto)
    model = parse_model(name, copy)
    check_model(name, model)
    return model


def _fold(name: Path, original: ir.Model, options: Options) -> OnnxFold:
    folded = fold_model(original, clones=options.clones, constants=options.constants)
    if folded.unchanged:
        kept = tuple(row for row in folded.rows if not row.folded)
        folded = replace(folded, model=original, rows=kept, probes=(None,) * len(kept))
    if not options.proof:
        return OnnxFold(name, original, folded, (None,) * len(folded.rows), None)
    verdict = prove_fold(
        original,
        folded,
        clones=options.clones,
        data=options.data,
        seed=options.seed,
        sizes=options.sizes,
    )
    none = (None,) * len(folded.rows)
    feed = verdict.example
    errors = none if feed is None else layer_errors(original, folded.model, folded.probes, feed)
    return OnnxFold(name, original, folded, tuple(errors), verdict)


def _checkers_problem(path: Path) -> str | None:
    """Return why a file is no valid model."""
    try:
        onnx.checker.check_model(path, full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        return first_line(error)
    return None


def _runtimes_problem(path: Path) -> str | None:
    """Return why onnxruntime does not load a file."""
    try:
        Session(path, "enable_all")
    except GraphError as error:
        return str(error)
    return None


def _copy(source: Path, model: ir.Model, output: Path) -> None:
    """Copy a model's file, and the files of its weights where they are elsewhere then."""
    try:
        if output.parent.resolve() != source.parent.resolve():
            for location in {str(tensor.location) for tensor in external_tensors(model)}:
                beside = output.parent / location
                beside.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(source.parent / location, beside)
        shutil.copyfile(source, output)
    except OSError as error:
        raise FoldError(f"{output}: cannot be written ({error.strerror or error})") from error


@dataclass(frozen=True)
class Measured:
    """Milliseconds of a run on one thread in onnxruntime, as served: medians of runs in turn.

    Attributes:
        ratio: median of folded over original, pair by pair.
        low, high: its quartiles.
    """

    original_ms: float
    folded_ms: float
    ratio: float
    low: float
    high: float
    inputs: str


def measure(fold: OnnxFold) -> Measured:
    """Return how long both models take for the smallest inputs of the proof.

    Raises:
        FoldError: nothing was proved, so that no inputs are known.
    """
    feed = None if fold.verdict is None else fold.verdict.example
    if feed is None:
        raise FoldError(f"{fold.name}: no inputs are known to run with, so nothing is measured")
    times: tuple[list[float], list[float]] = ([], [])
    with written(fold.original) as one, written(fold.folded.model) as other:
        sessions = [Session(path, "enable_all") for path in (one, other)]
    for round_number in range(ROUNDS + 3):
        for session, samples in zip(sessions, times, strict=True):
            started = time.perf_counter()
            session.run(feed)
            if round_number >= 3:  # the first warm up
                samples.append((time.perf_counter() - started) * 1e3)
    low, middle, high = statistics.quantiles(
        [new / old for old, new in zip(*times, strict=True)], n=4
    )
    before, after = (statistics.median(one) for one in times)
    return Measured(before, after, middle, low, high, str(feed))
