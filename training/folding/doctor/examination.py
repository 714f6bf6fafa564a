"""Examines whatever a path holds: an ONNX file, an artifact, a run, torch weights."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import onnx
import onnx_ir as ir

from models.bundle import MANIFEST_FILE, load_bundle
from models.manifest import Variant
from training.errors import CheckpointError, FoldError
from training.folding.doctor.checks import examine
from training.folding.doctor.diagnosis import Diagnosis, worst_first
from training.folding.doctor.finding import Finding
from training.folding.doctor.graphs import norms_of_model
from training.folding.doctor.kernels import Kernels, kernel_findings, kernels_of_model
from training.folding.doctor.record import NormRecord
from training.folding.onnx_frontend.files import read_model

CHECKPOINT_FILE = "checkpoint.pt"
WEIGHTS = (".pt", ".pth")


def diagnose(model: Path, data_dir: Path | None) -> Diagnosis:
    """Return what is found of a model.

    Raises:
        FoldError, CheckpointError, BundleError, DataError: it, or the data, cannot be read.
    """
    kind, norms, kernels, network = _read(model)
    findings = [*kernel_findings(kernels), *examine(norms)]
    measurements: dict[str, float] = {}
    if data_dir is not None:
        if network is None:
            raise FoldError(
                f"{model}: what its inputs mean is not known, so nothing can be measured; leave "
                "--data-dir away, or name an artifact or a run"
            )
        measured, measurements = _measure(network, norms, data_dir)
        findings += measured
    return Diagnosis(str(model), kind, len(norms), worst_first(findings), measurements)


def _read(model: Path) -> tuple[str, list[NormRecord], Kernels, Any]:
    """Return what a path is, its batch norms, its kernels, and what makes its torch network."""
    if (model / MANIFEST_FILE).is_file():
        artifact = load_bundle(model)
        variant: Variant = "unfolded" if "unfolded" in artifact.manifest.graphs else "plain"
        graph = ir.from_proto(onnx.load_from_string(artifact.read_graph(variant)))
        kind = f"artifact, its {variant} graph"
        return kind, norms_of_model(graph), kernels_of_model(graph), artifact
    if model.is_dir():
        if not (model / CHECKPOINT_FILE).is_file():
            raise CheckpointError(
                f"{model} holds neither {MANIFEST_FILE} nor {CHECKPOINT_FILE}; name an artifact "
                "or a run"
            )
        model = model / CHECKPOINT_FILE
    if model.suffix in WEIGHTS:
        from training.folding.doctor.weights import read_weights

        norms, kernels, network = read_weights(model)
        return "torch weights" if network is None else "checkpoint", norms, kernels, network
    graph = read_model(model)
    return "ONNX model", norms_of_model(graph), kernels_of_model(graph), None


def _measure(
    network: Any, norms: list[NormRecord], data_dir: Path
) -> tuple[list[Finding], dict[str, Any]]:
    from models.bundle import Bundle
    from training.data.cifar10 import load_cifar10
    from training.folding.doctor.measured import (
        answer_findings,
        gap_findings,
        measure_gap,
        measure_staleness,
        staleness_findings,
    )
    from training.trainer.run.saved_networks import network_from_artifact

    if not all(norm.sound for norm in norms):
        return [], {}  # broken already
    if isinstance(network, Bundle):
        network = network_from_artifact(network)
    train, test = load_cifar10(data_dir)
    answers = answer_findings(network, test)
    if answers or not norms:
        return answers, {}
    gap, layers = measure_gap(network, test), measure_staleness(network, train)
    measurements = {
        "gap": {**asdict(gap), "points": gap.points, "deviations": gap.deviations},
        "staleness": [asdict(layer) for layer in layers],
    }
    return [*gap_findings(gap), *staleness_findings(layers)], measurements
