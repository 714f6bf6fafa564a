"""The graphs of a packed classifier, each shown to be what it says: as it came, and folded."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import onnx
import onnx_ir as ir
from numpy.typing import NDArray

from models.manifest import FoldReport, Variant
from models.tensors import INPUT_NAME
from training.errors import ExportError, GraphError, VerificationError
from training.evaluation.onnx_runner import GraphRunner, first_line, open_session
from training.folding.onnx_fold import read_proto
from training.folding.onnx_frontend import fold_model
from training.folding.proof.inputs.adversarial import adversarial_images
from training.folding.proof.running.precision import in_float64
from training.folding.proof.running.reference import Reference
from training.folding.proof.running.sessions import written
from training.folding.proof.tolerances import FourLogits, largest_difference, rounding_allowance
from training.release.fold_proof import folded_layers, prove
from training.release.packing.classifier import Classifier, Scores, check_scores
from training.release.packing.pipeline import Pipeline
from training.release.packing.served_graph import kind_of_scores, served_graph

IMAGES = 10  # of the golden batch
GRAINS = (1, 2, 4, 8, 16)  # pixels of one colour in a row: noise alone is like no photograph
GOLDEN_NOISE = f"{IMAGES} images of seeded noise, of grains of {GRAINS} pixels"
GOLDEN_DATA = f"{IMAGES} of the labelled images, evenly spaced"
ADVERSARIAL = 8  # inputs of the proof, besides
CHUNK = 2  # images that the reference computes at once
BATCHES = (1, 2, 3)  # sizes that a graph with a free batch must take


@dataclass(frozen=True)
class PackedGraphs:
    """The graphs to release, the golden batch, and the verdict on the fold."""

    models: dict[Variant, onnx.ModelProto]
    images: NDArray[np.uint8]  # (n, H, W, C)
    golden: str  # what they are
    logits: NDArray[np.float64]  # (n, classes), of the graph before folding
    fold: FoldReport | None

    @property
    def served(self) -> bytes:
        """The graph that is served."""
        return next(iter(self.contents.values()))

    @cached_property
    def contents(self) -> dict[Variant, bytes]:
        """The files' bytes."""
        return {variant: model.SerializeToString() for variant, model in self.models.items()}


def pack_graphs(
    classifier: Classifier,
    pipeline: Pipeline,
    classes: int,
    scores: Scores | None,
    images: NDArray[np.uint8] | None = None,
) -> PackedGraphs:
    """Return the graphs around a classifier, proved against it and against each other.

    The golden batch is `images` (n, H, W, C), or seeded noise.

    Raises:
        ExportError: what comes out of it are no scores of that many classes, or its batch is fixed.
        GraphError: onnxruntime or the reference implementation cannot run it.
        VerificationError: a graph is not the network that it was made from.
    """
    kind = kind_of_scores(classifier, scores)
    golden = GOLDEN_DATA if images is not None else GOLDEN_NOISE
    if images is None:
        images = golden_images((*classifier.size, pipeline.channel_count))
    came = _scores_of_the_file(classifier, pipeline, images)
    check_scores(classifier.source, came.shape, len(images), classes)
    proto = served_graph(classifier, pipeline, classes, kind)
    runner = _checked_runner(classifier, proto, images, scores)
    graphs = folded_graphs(str(classifier.source), proto, images, golden)
    _check_packing(classifier, kind, runner.run(images), came, graphs.logits)
    return graphs


def folded_graphs(
    source: str, proto: onnx.ModelProto, images: NDArray[np.uint8], golden: str
) -> PackedGraphs:
    """Return a served graph and its fold, proved on the golden batch and on adversarial inputs.

    Raises:
        GraphError: onnxruntime or the reference implementation cannot run it.
        VerificationError: the folded graph is another network.
    """
    original, runner = read_proto(proto), GraphRunner(proto.SerializeToString(), "disable_all")
    reference = Reference(original)
    truth = _in_chunks(reference, images)
    folded = fold_model(original)
    if folded.unchanged:
        return PackedGraphs({"plain": proto}, images, golden, truth, None)
    served = ir.to_proto(folded.model)
    algebra = Reference(fold_model(in_float64(original)).model)
    runners = [runner, GraphRunner(served.SerializeToString(), "enable_all")]

    def four_ways(given: NDArray[np.uint8], exact: NDArray[np.float64]) -> FourLogits:
        unfolded, served_logits = (one.logits(given) for one in runners)
        return FourLogits(exact, _in_chunks(algebra, given), unfolded, served_logits)

    adversarial = adversarial_images(images.shape[1:])
    adversarial = adversarial[np.linspace(0, len(adversarial) - 1, ADVERSARIAL).astype(int)]
    proof = prove(
        four_ways(images, truth), four_ways(adversarial, _in_chunks(reference, adversarial))
    )
    if not proof.holds:
        raise VerificationError(
            f"{source}: the proof of the fold fails, nothing is packed: {proof}"
        )
    report = FoldReport(folded_layers(folded.rows, constants=True), proof)
    models: dict[Variant, onnx.ModelProto] = {"folded": served, "unfolded": proto}
    return PackedGraphs(models, images, golden, truth, report)


def _in_chunks(reference: Reference, images: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Return logits in float64, of few images at a time: all activations are in memory."""
    chunks = range(0, len(images), CHUNK)
    return np.concatenate(
        [reference.run({INPUT_NAME: images[at : at + CHUNK]})[0] for at in chunks]
    )


def golden_images(shape: tuple[int, ...]) -> NDArray[np.uint8]:
    """Return images (IMAGES, H, W, C) of seeded noise, of coarser and coarser grains."""
    generator = np.random.default_rng(0)
    height, width, channels = shape
    images = []
    for number in range(IMAGES):
        grain = min(GRAINS[number % len(GRAINS)], height, width)
        cells = (-(-height // grain), -(-width // grain), channels)
        noise = generator.integers(0, 256, cells, np.uint8)
        images.append(noise.repeat(grain, 0).repeat(grain, 1)[:height, :width])
    return np.stack(images)


def _scores_of_the_file(
    classifier: Classifier, pipeline: Pipeline, images: NDArray[np.uint8]
) -> NDArray[np.float32]:
    """Return what the file as it came gives, one image at a time, of pixels prepared by numpy."""
    pixels = images[..., ::-1] if pipeline.channels == "BGR" else images
    mean, deviation = (np.array(one, np.float32) for one in (pipeline.mean, pipeline.deviation))
    numbers = (pixels.astype(np.float32) - mean) / deviation
    axes = (0, 3, 1, 2) if classifier.layout == "NCHW" else (0, 1, 2, 3)
    prepared = np.ascontiguousarray(numbers.transpose(axes))
    with written(classifier.model) as path:
        session = open_session(path, "disable_all")
    names, name = [str(classifier.scores.name)], str(classifier.input.name)
    try:
        scores = [session.run(names, {name: one[None]})[0] for one in prepared]
    except Exception as error:  # onnxruntime's exceptions share no other base
        raise ExportError(
            f"{classifier.source} does not run on images of {classifier.size[0]} by "
            f"{classifier.size[1]} pixels ({first_line(error)}); give the size that it was "
            "trained for with --size"
        ) from error
    return np.concatenate([np.asarray(one) for one in scores])


def _checked_runner(
    classifier: Classifier,
    proto: onnx.ModelProto,
    images: NDArray[np.uint8],
    stated: Scores | None,
) -> GraphRunner:
    """Return the graph as it runs unoptimized, its batches free and its scores plausible."""
    path = classifier.source
    try:
        onnx.checker.check_model(proto, full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        raise ExportError(
            f"{path}: with images of {classifier.size[0]} by {classifier.size[1]} pixels its sizes "
            f"contradict each other ({first_line(error)}); give the size that it was trained for "
            "with --size, or export it with a free batch axis"
        ) from error
    runner = GraphRunner(proto.SerializeToString(), "disable_all")
    alone = np.concatenate([_run(path.name, runner, image[None]) for image in images])
    if not np.isfinite(alone).all():
        raise ExportError(f"{path}: its scores of noise are not finite; check mean and deviation")
    allowed = 1e-4 * float(np.abs(alone).max())
    for size in BATCHES:
        together = _run(path.name, runner, images[:size])
        if together.shape[0] != size or largest_difference(together, alone[:size]) > allowed:
            raise ExportError(
                f"{path}: {size} images at once give other scores than one by one; export the "
                "network in inference mode (eval()), with a free batch axis"
            )
    sums = alone.sum(axis=1, dtype=np.float64)
    if stated is None and alone.min() >= 0 and np.abs(sums - 1).max() < 1e-3:
        raise ExportError(
            f"{path}: its scores are not negative and add up to 1, as probabilities do, and do not "
            "come out of a Softmax; say what they are, --scores probabilities or --scores logits"
        )
    return runner


def _run(name: str, runner: GraphRunner, images: NDArray[np.uint8]) -> NDArray[np.float32]:
    try:
        return runner.run(images)[0]
    except GraphError as error:
        raise ExportError(
            f"{name} does not run on {len(images)} images at once ({error.__cause__ or error}); "
            "export the network with a free batch axis, and for the size that it was trained for"
        ) from error


def _check_packing(
    classifier: Classifier,
    kind: Scores,
    packed: tuple[NDArray[np.float32], NDArray[np.float32]],
    came: NDArray[np.float32],
    truth: NDArray[np.float64],
) -> None:
    """Compare a graph's logits and probabilities with the scores of the file as it came.

    Raises:
        VerificationError: they differ by more than rounding.
    """
    logits, probabilities = packed
    scores = logits if kind == "logits" else probabilities
    scale = float(np.abs(scores).max())
    noise = largest_difference(logits, truth) / float(np.abs(truth).max())
    error = largest_difference(scores, came.reshape(scores.shape))
    allowed = rounding_allowance(noise * scale, scale)
    if not error <= allowed:
        raise VerificationError(
            f"{classifier.source}: the packed graph's scores differ from the file's own by "
            f"{error:.3g}, at most {allowed:.3g} is rounding; nothing is packed"
        )
