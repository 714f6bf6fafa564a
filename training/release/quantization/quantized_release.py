"""A released artifact with an int8 graph beside its others: the next version of it.

Graphs, golden logits, learning curve and metrics are those of the version that it is made from, to
the byte; added are `model.int8.onnx`, `golden.int8.npz` and their report in the manifest.
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import torch
from numpy.typing import NDArray

from models.bundle import Bundle, load_bundle
from models.manifest import (
    Calibration,
    GraphRecord,
    Latency,
    Manifest,
    QuantizationEffect,
    QuantizationReport,
    SpeedGain,
    Variant,
)
from training.client.load.machine import processor_flags
from training.data.cifar10 import Split
from training.data.labelled_images import LabelledImages
from training.errors import ExportError, VerificationError
from training.evaluation.environment import describe_environment, vector_instructions
from training.evaluation.graph_statistics import node_counts
from training.evaluation.latency import measure_latency
from training.evaluation.onnx_runner import GraphRunner
from training.release.folder import (
    GRAPH_FILES,
    INT8_GOLDEN_FILE,
    file_record,
    free_place,
    new_folder,
    write_manifest,
)
from training.release.model_card import write_model_card
from training.release.quantization.effect import MAX_LOSS_POINTS, measure_effect
from training.release.quantization.int8_graph import METHOD, SCHEME, quantize
from training.release.quantization.layer_errors import LayerError, layer_errors

CALIBRATION_IMAGES = 1000
CALIBRATION_SEED = 0
REWRITTEN_SHARE = 0.05  # of the answers: emulation changes one of thousands
SHOWN_LAYERS = 5  # of those that lose most


def release_quantized(
    artifact: Bundle,
    train: Split,
    test: Split | LabelledImages,
    target_version: str,
    folder: Path,
    *,
    calibration_images: int = CALIBRATION_IMAGES,
    seed: int = CALIBRATION_SEED,
    keep: Sequence[str] = (),
    max_loss_points: float = MAX_LOSS_POINTS,
    latency_rounds: int | None = None,
) -> Bundle:
    """Write the artifact NAME-VERSION with an int8 graph into the folder and return it.

    The activations' ranges come from `calibration_images` of the training images, chosen by `seed`;
    `test` is the published test set, or labelled images of one's own. Layers that are named in
    `keep` stay in float32. An int8 graph that the artifact has already is made anew.

    Raises:
        BundleError: a file of the artifact is not the released one.
        ExportError: the artifact of that version exists already, or the images are of another size.
        GraphError: a layer of `keep` is not in the graph, or nothing is left to quantize.
        VerificationError: the int8 graph loses more than `max_loss_points`; nothing is written.
    """
    artifact.verify()
    target = free_place(folder, artifact.name, target_version)
    wanted, found = artifact.manifest.input.image_shape, train.images.shape[1:]
    if found != wanted:
        raise ExportError(
            f"{artifact.path.name} takes images {wanted}, and those of the dataset are {found}; "
            "quantize it on images of its own"
        )
    source = artifact.read_graph(artifact.served_variant)
    chosen = calibration_choice(train.images, calibration_images, seed)
    model = onnx.load_from_string(source)
    int8 = quantize(model, chosen, keep)
    content = int8.SerializeToString()
    effect = measure_effect(source, content, test, artifact)
    if effect.accuracy_difference_points < -max_loss_points:
        raise VerificationError(
            too_great_a_loss(effect, max_loss_points, layer_errors(model, int8, chosen))
        )
    latency = measure_latency(
        {artifact.served_variant: source, "int8": content}, rounds=latency_rounds
    )
    with new_folder(target) as temporary:
        _copy_files(artifact, temporary)
        (temporary / GRAPH_FILES["int8"]).write_bytes(content)
        golden = GraphRunner(content).logits(artifact.read_golden().images)
        np.savez_compressed(temporary / INT8_GOLDEN_FILE, logits=golden)
        report = QuantizationReport(
            source=artifact.served_variant,
            scheme=SCHEME,
            calibration=Calibration(len(chosen), seed, METHOD),
            effect=effect,
            speed=speed_gains(latency, artifact.served_variant),
            golden=file_record(temporary / INT8_GOLDEN_FILE),
            environment=_environment(),
            kept=tuple(keep),
            max_loss_points=max_loss_points,
        )
        write_manifest(_manifest(artifact, target_version, content, latency, report), temporary)
        write_model_card(load_bundle(temporary))
    return load_bundle(target)


def calibration_choice(images: NDArray[np.uint8], number: int, seed: int) -> NDArray[np.uint8]:
    """Return `number` of the images (N, H, W, 3), all of them if there are fewer."""
    order = np.random.default_rng(seed).permutation(len(images))
    return images[np.sort(order[:number])]


def too_great_a_loss(
    effect: QuantizationEffect, max_points: float, errors: Sequence[LayerError]
) -> str:
    """Return why an int8 graph is no stand-in for its float32 graph, and what may be done."""
    said = (
        f"the int8 graph loses {-effect.accuracy_difference_points:.2f} points of accuracy on "
        f"{effect.test.images:,} images, at most {max_points} are accepted"
    )
    if effect.emulation_label_changes > REWRITTEN_SHARE * effect.test.images:
        return (
            f"{said}. Run as it is written it answers {effect.emulation_label_changes:,} of them "
            "differently: onnxruntime's rewriting of the graph is at fault, and not the rounding. "
            "Keep other layers in float32 or none, or serve float32"
        )
    worst = sorted(errors, key=lambda error: -error.error)[:SHOWN_LAYERS]
    layers = ", ".join(f"{error.name} {error.error:.1%}" for error in worst)
    return (
        f"{said}. How far logits are off where one layer alone is rounded: {layers}. Keep the "
        f"worst in float32, --keep {worst[0].name}, calibrate on more images, accept more with "
        "--max-loss, or serve float32"
    )


def speed_gains(
    latency: Mapping[Variant, tuple[Latency, ...]], source: Variant
) -> tuple[SpeedGain, ...]:
    """Return how much faster int8 is at each batch size, both as they are served."""
    pairs = zip(latency[source], latency["int8"], strict=True)
    return tuple(
        SpeedGain(slow.batch_size, slow, fast, round(slow.median_ms / fast.median_ms, 3))
        for slow, fast in pairs
        if slow.optimization == "enable_all"
    )


def _environment() -> dict[str, Any]:
    """Return where it was measured; int8 depends on the runtime and the CPU's instructions."""
    environment = describe_environment(torch.device("cpu"))
    environment["versions"]["onnxruntime"] = onnxruntime.__version__
    return {**environment, "instructions": vector_instructions(processor_flags())}


def _copy_files(artifact: Bundle, folder: Path) -> None:
    """Copy what stays the same; an older int8 graph and its golden logits stay behind."""
    manifest = artifact.manifest
    files = [graph.file for variant, graph in manifest.graphs.items() if variant != "int8"]
    others = [record.file for record in (manifest.golden, manifest.history) if record]
    for file in (*files, *others):
        shutil.copyfile(artifact.path / file, folder / file)


def _manifest(
    artifact: Bundle,
    version: str,
    content: bytes,
    latency: Mapping[Variant, tuple[Latency, ...]],
    report: QuantizationReport,
) -> Manifest:
    manifest = artifact.manifest
    model = onnx.load_from_string(content)
    served = manifest.graphs[artifact.served_variant]
    record = GraphRecord(
        file=GRAPH_FILES["int8"],
        sha256=hashlib.sha256(content).hexdigest(),
        size_bytes=len(content),
        opset=model.opset_import[0].version,
        nodes=node_counts(model),
        parameters=served.parameters,  # the same network, so the same numbers and products
        macs=served.macs,
        latency=latency["int8"],
    )
    return replace(
        manifest,
        version=version,
        graphs={**manifest.graphs, "int8": record},
        quantization=report,
    )
