"""Anybody's image classifier, an ONNX file, becomes an artifact as immutable as our own."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from models.bundle import NAME_PATTERN, Bundle, load_bundle
from models.manifest import (
    SCHEMA_VERSION,
    FileRecord,
    GraphRecord,
    Manifest,
    PackedFrom,
    Variant,
)
from models.metrics import Metrics
from models.tensors import INPUT_NAME, SCORE_NAMES, ImageSpec, Resize, TensorSpec
from training.data.labelled_images import list_labelled
from training.errors import ExportError
from training.evaluation.environment import describe_onnx_environment
from training.evaluation.graph_statistics import summed_products
from training.evaluation.labelled import measure_labelled
from training.evaluation.latency import measure_latency
from training.evaluation.onnx_runner import GraphRunner
from training.release.folder import (
    GOLDEN_FILE,
    GRAPH_FILES,
    file_record,
    free_place,
    graph_records,
    new_folder,
    write_manifest,
)
from training.release.model_card import write_model_card
from training.release.packing.classifier import Classifier, Scores, read_classifier
from training.release.packing.graphs import IMAGES, PackedGraphs, pack_graphs
from training.release.packing.pipeline import Pipeline
from training.release.packing.served_graph import kind_of_scores


@dataclass(frozen=True)
class Packing:
    """What an artifact is to be.

    Attributes:
        name, version: of the artifact, as its folder is called.
        labels: the classes, by index.
        pipeline: from a picture to what the network computes on.
        scores: what the network's output is; None has its last node tell.
        output: name of the network's output, where it has several.
        title: for people; the name where there is none.
        licence: of the weights.
        data: labelled images to measure it on, a folder a class or a CSV file of path and label.
    """

    name: str
    version: str
    labels: tuple[str, ...]
    pipeline: Pipeline
    scores: Scores | None = None
    output: str | None = None
    title: str | None = None
    licence: str | None = None
    data: Path | None = None


def pack(path: Path, asked: Packing, folder: Path, latency_rounds: int | None = None) -> Bundle:
    """Write the artifact NAME-VERSION of an ONNX file into a folder and return it.

    The graphs are proved, and measured on labelled images, before anything is written. Run times
    are medians over `latency_rounds` rounds; None takes as many as about a minute holds.

    Raises:
        FoldError: the file cannot be read.
        ExportError: it is no classifier of images, what is asked contradicts it, or the artifact
            exists already.
        GraphError: it cannot be run.
        VerificationError: a proof fails; nothing is written.
        DataError: the labelled images are not sound.
    """
    if not NAME_PATTERN.fullmatch(asked.name):
        raise ExportError(f"--name {asked.name!r} must be lower-case words joined by -")
    target = free_place(folder, asked.name, asked.version)
    classifier = read_classifier(path, asked.pipeline, asked.output)
    spec = image_spec(classifier, asked.pipeline)
    labelled = list_labelled(asked.data, asked.labels) if asked.data else None
    enough = labelled is not None and len(labelled.files) >= IMAGES
    golden_images = labelled.sample(spec, IMAGES) if labelled and enough else None
    graphs = pack_graphs(classifier, asked.pipeline, len(asked.labels), asked.scores, golden_images)
    metrics = None
    if labelled:
        metrics = Metrics(
            measure_labelled(GraphRunner(graphs.served), labelled, spec, asked.labels)
        )
    with new_folder(target) as temporary:
        latency = measure_latency(graphs.contents, latency_rounds)
        for variant, content in graphs.contents.items():
            (temporary / GRAPH_FILES[variant]).write_bytes(content)
        golden = temporary / GOLDEN_FILE
        np.savez_compressed(golden, images=graphs.images, logits=graphs.logits)
        records = graph_records(graphs.models, latency)
        manifest = _manifest(asked, classifier, records, file_record(golden), graphs)
        write_manifest(replace(manifest, metrics=metrics), temporary)
        write_model_card(load_bundle(temporary))
    return load_bundle(target)


def image_spec(classifier: Classifier, pipeline: Pipeline) -> ImageSpec:
    """Return how a picture becomes a row of the graph's input."""
    default: Resize = "shortest-side" if len(pipeline.resize_to) < 2 else "exact"
    resize = pipeline.resize or default
    to = pipeline.resize_to or (classifier.size if resize == "exact" else (min(classifier.size),))
    return ImageSpec(
        INPUT_NAME,
        "uint8",
        ("N", *classifier.size, pipeline.channel_count),
        colour_order="grey" if pipeline.channels == "grey" else "RGB",
        resize=resize,
        resize_to=() if resize == "central-crop" else to,
        interpolation=pipeline.interpolation,
        transparency="ignored",
    )


def _manifest(
    asked: Packing,
    classifier: Classifier,
    graphs: dict[Variant, GraphRecord],
    golden: FileRecord,
    packed: PackedGraphs,
) -> Manifest:
    pipeline, model = replace(asked.pipeline, layout=classifier.layout), classifier.model
    kind = kind_of_scores(classifier, asked.scores)
    producer = f"{model.producer_name or 'unknown'} {model.producer_version or ''}".strip()
    return Manifest(
        schema_version=SCHEMA_VERSION,
        name=asked.name,
        version=asked.version,
        title=asked.title or asked.name,
        labels=asked.labels,
        input=image_spec(classifier, asked.pipeline),
        outputs=tuple(
            TensorSpec(name, "float32", ("N", len(asked.labels))) for name in SCORE_NAMES
        ),
        graphs=graphs,
        golden=golden,
        fold=packed.fold,
        packed=PackedFrom(
            file=classifier.source.name,
            sha256=classifier.sha256,
            size_bytes=classifier.source.stat().st_size,
            producer=producer,
            licence=asked.licence,
            pixels=pipeline.in_words(classifier.size),
            scores=f"{kind} of {classifier.scores.name}",
            golden=packed.golden,
            environment=describe_onnx_environment(),
            summed_products=summed_products(next(iter(packed.models.values()))),
        ),
    )
