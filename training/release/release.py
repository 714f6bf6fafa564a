"""Releasing a run: graphs, proof, metrics and history become one immutable artefact.

`artefact_folder` puts it in its place, whole or not at all.
"""

from __future__ import annotations

import hashlib
import statistics
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import onnx
import onnx_ir
import torch
from torch import nn

from models.bundle import Bundle, load_bundle
from models.history import EpochRecord, write_history
from models.manifest import (
    SCHEMA_VERSION,
    BestEpoch,
    FileRecord,
    FoldedLayer,
    FoldReport,
    GraphRecord,
    Latency,
    Manifest,
    Metrics,
    Provenance,
    TensorSpec,
    Variant,
)
from training.data.cifar10 import LABELS, PUBLISHED_MD5, Split
from training.errors import ExportError, VerificationError
from training.evaluation.environment import describe_environment
from training.evaluation.latency import ROUNDS, measure_latency
from training.evaluation.metrics import measure
from training.evaluation.onnx_runner import GraphRunner
from training.evaluation.test_time_augmentation import measure_six_views
from training.export.exporter import export_onnx
from training.export.graph_statistics import multiply_accumulates, node_counts, parameter_count
from training.export.served_network import INPUT_NAME, OUTPUT_NAMES
from training.folding.engine.report_row import Row
from training.folding.onnx_frontend.folding import fold_model
from training.recipes.recipe import Recipe
from training.release.folder import file_record, free_place, new_folder, write_manifest
from training.release.model_card import write_model_card
from training.release.verification import Verification, exact_logits, verify_graphs
from training.trainer.checkpoint import Checkpoint
from training.trainer.networks import network_from_checkpoint

GRAPH_FILES: dict[Variant, str] = {
    "folded": "model.onnx",
    "plain": "model.onnx",
    "unfolded": "model.unfolded.onnx",
    "int8": "model.int8.onnx",
}
GOLDEN_FILE = "golden.npz"
HISTORY_FILE = "history.jsonl"


@dataclass(frozen=True)
class Graphs:
    """The ONNX graphs of a network, and what became of its batch norms."""

    models: dict[Variant, onnx.ModelProto]
    layers: tuple[FoldedLayer, ...]

    @property
    def contents(self) -> dict[Variant, bytes]:
        """The files' bytes."""
        return {variant: model.SerializeToString() for variant, model in self.models.items()}


def release(
    checkpoint: Checkpoint, version: str, test: Split, folder: Path, latency_rounds: int = ROUNDS
) -> Bundle:
    """Write the artefact NAME-VERSION of a run into the folder and return it.

    `test` is the published test set; the run times are medians over `latency_rounds` rounds.

    Raises:
        ExportError: the run has no finished epoch, or the artefact exists already.
        VerificationError: the graphs are not the network; nothing is written.
    """
    _check_releasable(checkpoint)
    network, recipe = network_from_checkpoint(checkpoint)
    target = free_place(folder, recipe.name, version)
    graphs = export_graphs(network)
    verification = verify_artefact_graphs(network, graphs.contents, test)
    with new_folder(target) as temporary:
        records = _graph_records(graphs, measure_latency(graphs.contents, rounds=latency_rounds))
        manifest = _manifest(checkpoint, recipe, version, graphs, records, verification, test)
        _write_files(temporary, network, checkpoint, graphs, test)
        manifest = replace(
            manifest,
            golden=file_record(temporary / GOLDEN_FILE),
            history=file_record(temporary / HISTORY_FILE),
        )
        write_manifest(manifest, temporary)
        write_model_card(load_bundle(temporary))
    return load_bundle(target)


def _check_releasable(checkpoint: Checkpoint) -> None:
    """Refuse, before anything is computed, what could not be released at the end."""
    if not checkpoint.history:
        raise ExportError("the run has no finished epoch yet; train at least one")
    if checkpoint.progress.step:
        raise ExportError(
            f"the run was stopped inside epoch {checkpoint.progress.epoch + 1}: its weights are "
            "newer than its last measurement; let 'foldnorm train … --resume' finish the epoch"
        )


def export_graphs(network: nn.Module) -> Graphs:
    """Return the served graph, and the unfolded one of a network with batch norm."""
    exported = export_onnx(network)
    if not node_counts(exported).get("BatchNormalization"):
        return Graphs({"plain": exported}, ())
    folded = fold_model(onnx_ir.from_proto(exported))
    layers = tuple(_folded_layer(row) for row in folded.rows if row.is_norm)
    return Graphs({"folded": onnx_ir.to_proto(folded.model), "unfolded": exported}, layers)


def _folded_layer(row: Row) -> FoldedLayer:
    return FoldedLayer(
        norm=row.norm.name,
        channels=row.norm.channels,
        into=", ".join(row.into) or None,
        reason=row.reason,
        largest_scale=row.largest_scale,
    )


def verify_artefact_graphs(
    network: nn.Module, contents: dict[Variant, bytes], test: Split
) -> Verification:
    """Prove that an artefact's graphs are this network.

    Raises:
        VerificationError: they are not.
    """
    unfolded = contents.get("unfolded") or contents["plain"]
    verification = verify_graphs(network, unfolded, contents.get("folded"), test.images)
    if not verification.holds:
        raise VerificationError(f"the proof fails, nothing is released: {verification}")
    return verification


def _manifest(
    checkpoint: Checkpoint,
    recipe: Recipe,
    version: str,
    graphs: Graphs,
    records: dict[Variant, GraphRecord],
    verification: Verification,
    test: Split,
) -> Manifest:
    """Return the manifest, but for the records of the files that are not written yet."""
    runner = GraphRunner(graphs.contents.get("folded") or graphs.contents["plain"])
    history = [EpochRecord(**row) for row in checkpoint.history]
    best = max(history, key=lambda record: record.test_accuracy)
    pending = FileRecord("", "")
    return Manifest(
        schema_version=SCHEMA_VERSION,
        name=recipe.name,
        version=version,
        title=recipe.title,
        labels=LABELS,
        input=TensorSpec(INPUT_NAME, "uint8", ("N", 32, 32, 3)),
        outputs=tuple(TensorSpec(name, "float32", ("N", len(LABELS))) for name in OUTPUT_NAMES),
        graphs=records,
        golden=pending,
        history=pending,
        fold=FoldReport(graphs.layers, verification.fold) if verification.fold else None,
        metrics=Metrics(
            test=measure(runner.logits(test.images), test.labels, LABELS),
            best_epoch=BestEpoch(best.epoch, best.test_accuracy),
            test_time_augmentation=measure_six_views(runner, test),
        ),
        provenance=_provenance(checkpoint, history),
    )


def _graph_records(
    graphs: Graphs, latency: Mapping[Variant, tuple[Latency, ...]]
) -> dict[Variant, GraphRecord]:
    return {
        variant: GraphRecord(
            file=GRAPH_FILES[variant],
            sha256=hashlib.sha256(content).hexdigest(),
            size_bytes=len(content),
            opset=graphs.models[variant].opset_import[0].version,
            nodes=node_counts(graphs.models[variant]),
            parameters=parameter_count(graphs.models[variant]),
            macs=multiply_accumulates(graphs.models[variant]),
            latency=latency[variant],
        )
        for variant, content in graphs.contents.items()
    }


def _provenance(checkpoint: Checkpoint, history: list[EpochRecord]) -> Provenance:
    seconds = [record.train_seconds for record in history]
    return Provenance(
        recipe=checkpoint.recipe,
        seed=checkpoint.seed,
        epochs=len(history),
        data_md5=PUBLISHED_MD5,
        sessions=tuple(checkpoint.sessions),
        median_epoch_seconds=round(statistics.median(seconds), 3),
        total_seconds=round(sum(seconds), 3),
        export=describe_environment(torch.device("cpu")),
        accuracy_before_recalibration=(checkpoint.outcome or {}).get(
            "accuracy_before_recalibration"
        ),
    )


def _write_files(
    folder: Path, network: nn.Module, checkpoint: Checkpoint, graphs: Graphs, test: Split
) -> None:
    for variant, content in graphs.contents.items():
        (folder / GRAPH_FILES[variant]).write_bytes(content)
    write_history((EpochRecord(**row) for row in checkpoint.history), folder / HISTORY_FILE)
    firsts = [int(np.flatnonzero(test.labels == label)[0]) for label in range(len(LABELS))]
    images = test.images[firsts]  # the first test image of each class
    logits = exact_logits(network, images)
    np.savez_compressed(folder / GOLDEN_FILE, images=images, logits=logits)
