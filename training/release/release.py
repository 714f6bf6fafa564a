"""Releasing a run: graphs, proof, metrics and history become one immutable artifact.

`folder` puts it in its place, whole or not at all.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import onnx
import onnx_ir
from numpy.typing import NDArray
from torch import nn

from models.bundle import Bundle, load_bundle
from models.history import EpochRecord, write_history
from models.manifest import FoldedLayer, FoldReport, Variant
from training.data.cifar10 import Split
from training.errors import ExportError, VerificationError
from training.evaluation.graph_statistics import node_counts
from training.evaluation.latency import ROUNDS, measure_latency
from training.export.exporter import export_onnx
from training.folding.onnx_frontend import fold_model
from training.release.fold_proof import folded_layers
from training.release.folder import (
    GOLDEN_FILE,
    GRAPH_FILES,
    HISTORY_FILE,
    file_record,
    free_place,
    graph_records,
    new_folder,
    write_manifest,
)
from training.release.manifest import build_manifest, labels_of
from training.release.model_card import write_model_card
from training.release.verification import Verification, exact_logits, verify_graphs
from training.trainer.networks import check_fits
from training.trainer.run.checkpoint import Checkpoint
from training.trainer.run.saved_networks import network_from_checkpoint

GOLDEN_IMAGES = 10


@dataclass(frozen=True)
class Graphs:
    """The ONNX graphs of a network, and what became of its batch norms."""

    models: dict[Variant, onnx.ModelProto]
    layers: tuple[FoldedLayer, ...]

    @property
    def contents(self) -> dict[Variant, bytes]:
        """The files' bytes."""
        return {variant: model.SerializeToString() for variant, model in self.models.items()}

    @property
    def served(self) -> bytes:
        """The bytes of the graph that is served."""
        return self.contents["folded" if "folded" in self.models else "plain"]


def release(
    checkpoint: Checkpoint, version: str, test: Split, folder: Path, latency_rounds: int = ROUNDS
) -> Bundle:
    """Write the artifact NAME-VERSION of a run into the folder and return it.

    `test` is the published test set; the run times are medians over `latency_rounds` rounds.

    Raises:
        ExportError: the run has no finished epoch, or the artifact exists already.
        RecipeError: the network has another number of classes than the dataset has labels.
        VerificationError: the graphs are not the network; nothing is written.
    """
    _check_releasable(checkpoint)
    network, recipe = network_from_checkpoint(checkpoint)
    check_fits(recipe, test.images.shape[1:], labels_of(checkpoint))
    target = free_place(folder, recipe.name, version)
    graphs = export_graphs(network, test.images.shape[1:])
    verification = verify_artifact_graphs(network, graphs.contents, test)
    fold = FoldReport(graphs.layers, verification.fold) if verification.fold else None
    with new_folder(target) as temporary:
        latency = measure_latency(graphs.contents, rounds=latency_rounds)
        records = graph_records(graphs.models, latency)
        manifest = build_manifest(checkpoint, recipe, version, records, fold, graphs.served, test)
        history = [EpochRecord(**row) for row in checkpoint.history]
        write_files(temporary, network, history, graphs, test)
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


def export_graphs(network: nn.Module, image_shape: tuple[int, ...]) -> Graphs:
    """Return the served graph, and the unfolded one of a network with batch norm.

    `image_shape` is (H, W, C).
    """
    exported = export_onnx(network, image_shape)
    if not node_counts(exported).get("BatchNormalization"):
        return Graphs({"plain": exported}, ())
    folded = fold_model(onnx_ir.from_proto(exported))
    layers = folded_layers(folded.rows)
    return Graphs({"folded": onnx_ir.to_proto(folded.model), "unfolded": exported}, layers)


def verify_artifact_graphs(
    network: nn.Module, contents: dict[Variant, bytes], test: Split
) -> Verification:
    """Prove that an artifact's graphs are this network.

    Raises:
        ExportError: the network cannot be computed in float64.
        VerificationError: they are not.
    """
    unfolded = contents.get("unfolded") or contents["plain"]
    try:
        exact_logits(network, test.images[:1])
    except Exception as exc:  # whatever a stranger's forward raises
        raise ExportError(
            f"{type(network).__name__} cannot be computed in float64, as its proof needs "
            f"({type(exc).__name__}: {str(exc).splitlines()[0]}); let its forward keep the type of "
            "its input"
        ) from exc
    verification = verify_graphs(network, unfolded, contents.get("folded"), test.images)
    if not verification.holds:
        raise VerificationError(f"the proof fails, nothing is released: {verification}")
    return verification


def write_files(
    folder: Path,
    network: nn.Module,
    history: Sequence[EpochRecord],
    graphs: Graphs,
    test: Split,
) -> None:
    """Write graphs, learning curve and golden batch."""
    for variant, content in graphs.contents.items():
        (folder / GRAPH_FILES[variant]).write_bytes(content)
    write_history(history, folder / HISTORY_FILE)
    images = test.images[golden_rows(test.labels)]  # (n, H, W, C) uint8
    logits = exact_logits(network, images)  # (n, classes) float64
    np.savez_compressed(folder / GOLDEN_FILE, images=images, logits=logits)


def golden_rows(labels: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return which test images the golden batch holds, of labels (N,): at most `GOLDEN_IMAGES`.

    The first image of each class, class by class, then the second of each, and so on.
    """
    order = np.argsort(labels, kind="stable")
    starts = np.searchsorted(labels[order], labels[order])
    turn = np.arange(len(labels)) - starts  # how many of its class come before it
    rows: NDArray[np.int64] = order[np.argsort(turn, kind="stable")][:GOLDEN_IMAGES]
    return rows
