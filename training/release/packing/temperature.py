"""A packed network whose probabilities mean what they say: the next version of it.

The temperature is fitted on a share of labelled images and measured on the others. All logits are
divided by it, in the last layer's weights where a dense layer gives them; golden logits and the
proof of the fold are made anew.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from models.bundle import Bundle, load_bundle
from models.manifest import TemperatureFit, TemperatureReport, Variant
from models.metrics import Metrics
from training.data.cifar10 import Split
from training.data.labelled_images import list_labelled
from training.errors import ExportError, VerificationError
from training.evaluation.environment import describe_onnx_environment
from training.evaluation.latency import measure_latency
from training.evaluation.metrics import measure
from training.evaluation.onnx_runner import GraphRunner
from training.evaluation.temperature import fit_temperature, mean_loss
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
from training.release.packing.graphs import folded_graphs

LOGITS = "logits"
MIN_IMAGES = 10  # on either side of the split


def calibrate_packed(
    artifact: Bundle,
    data: Path,
    version: str,
    folder: Path,
    *,
    share: float,
    seed: int,
    latency_rounds: int | None = None,
) -> Bundle:
    """Write the artifact NAME-VERSION with its temperature folded in, and return it.

    A `share` of the labelled images, drawn by `seed`, is fitted on and the others are measured. An
    int8 graph of the artifact is left out, since its golden logits are of another scale.

    Raises:
        BundleError: a file of the artifact is not the released one.
        DataError: the labelled images are not sound.
        ExportError: the artifact has a temperature already, that version exists, or there are too
            few images.
        VerificationError: an answer changed, or a proof fails; nothing is written.
    """
    artifact.verify()
    manifest, packed = artifact.manifest, artifact.manifest.packed
    if manifest.temperature or packed is None:
        raise ExportError(
            f"{artifact.path.name} has a temperature already, or was not packed; calibrate the "
            "packed version before it"
        )
    target = free_place(folder, artifact.name, version)
    labelled = list_labelled(data, manifest.labels)
    count = round(share * len(labelled.files))
    if not MIN_IMAGES <= count <= len(labelled.files) - MIN_IMAGES:
        raise ExportError(
            f"of {len(labelled.files):,} labelled images {count:,} would be fitted on; at least "
            f"{MIN_IMAGES} are needed to fit on, and as many others to measure"
        )
    fitted, tested = labelled.split(count, seed)
    runner = GraphRunner(artifact.read_graph(artifact.served_variant))
    logits, labels = _answers(runner, fitted.chunks(manifest.input))
    temperature = fit_temperature(logits, labels)
    first: Variant = "unfolded" if "unfolded" in manifest.graphs else "plain"
    proto = divide_logits(onnx.load_from_string(artifact.read_graph(first)), temperature)
    graphs = folded_graphs(artifact.name, proto, artifact.read_golden().images, packed.golden)
    before, truth = _answers(runner, tested.chunks(manifest.input))
    after, _ = _answers(GraphRunner(graphs.served), tested.chunks(manifest.input))
    changed = int((before.argmax(1) != after.argmax(1)).sum())
    if changed:
        raise VerificationError(
            f"{changed} of {len(before):,} answers changed, and a temperature changes none; "
            "nothing is released"
        )
    fit = TemperatureFit(
        images=count,
        seed=seed,
        source=fitted.source.name,
        accuracy=float((logits.argmax(1) == labels).mean()),
        loss_before=mean_loss(logits, labels),
        loss_after=mean_loss(logits, labels, temperature),
    )
    measured = (measure(each, truth, manifest.labels, tested.tested_on) for each in (before, after))
    test_before, test_after = measured
    with new_folder(target) as temporary:
        latency = measure_latency(graphs.contents, latency_rounds)
        for variant, content in graphs.contents.items():
            (temporary / GRAPH_FILES[variant]).write_bytes(content)
        golden = temporary / GOLDEN_FILE
        np.savez_compressed(golden, images=graphs.images, logits=graphs.logits)
        calibrated = replace(
            manifest,
            version=version,
            graphs=graph_records(graphs.models, latency),
            golden=file_record(golden),
            fold=graphs.fold,
            metrics=Metrics(test_after),
            quantization=None,
            temperature=TemperatureReport(
                temperature, (), test_before, describe_onnx_environment(), fit
            ),
        )
        write_manifest(calibrated, temporary)
        write_model_card(load_bundle(temporary))
    return load_bundle(target)


def _answers(
    runner: GraphRunner, chunks: Iterable[Split]
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Return logits (N, classes) and classes (N,) of images that are read a thousand at a time."""
    parts = [(runner.logits(chunk.images), chunk.labels) for chunk in chunks]
    logits, labels = zip(*parts, strict=True)
    return np.concatenate(logits), np.concatenate(labels)


def divide_logits(model: onnx.ModelProto, temperature: float) -> onnx.ModelProto:
    """Return a served graph whose logits are divided by a temperature."""
    divided = onnx.ModelProto()
    divided.CopyFrom(model)
    graph = divided.graph
    last = next(node for node in graph.node if LOGITS in node.output)
    tensors = {tensor.name: tensor for tensor in graph.initializer}
    readers = [name for node in graph.node for name in node.input]
    own = [name for name in last.input[1:] if name in tensors and readers.count(name) == 1]
    if last.op_type == "Gemm" and len(own) == len(last.input) - 1:
        for name in own:
            weights = numpy_helper.to_array(tensors[name]).astype(np.float64) / temperature
            tensors[name].CopyFrom(numpy_helper.from_array(weights.astype(np.float32), name))
        return divided
    before, factor = f"{LOGITS}_before_temperature", f"{LOGITS}_temperature"
    last.output[list(last.output).index(LOGITS)] = before
    graph.initializer.append(numpy_helper.from_array(np.array(1 / temperature, np.float32), factor))
    place = list(graph.node).index(last) + 1
    graph.node.insert(place, helper.make_node("Mul", [before, factor], [LOGITS], factor))
    return divided
