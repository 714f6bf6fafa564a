"""A released artifact whose probabilities mean what they say: the next version of it.

Its temperature is fitted where no weight of it was: on the images that siblings held out, runs of
the same recipe that trained on the others. It is folded into the last layer, so that the service
needs to know nothing of it, and graphs, golden logits and proofs are made anew.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from models.bundle import Bundle, load_bundle
from models.manifest import FoldReport, TemperatureReport, TemperatureSibling
from models.networks import scale_logits
from training.data.cifar10 import Split
from training.data.selection import select
from training.errors import ExportError, VerificationError
from training.evaluation.environment import describe_environment
from training.evaluation.latency import measure_latency
from training.evaluation.metrics import measure
from training.evaluation.onnx_runner import GraphRunner
from training.evaluation.temperature import fit_temperature, mean_loss
from training.evaluation.test_time_augmentation import measure_augmented
from training.recipes import Recipe, recipe_from_dict
from training.release.folder import (
    GOLDEN_FILE,
    HISTORY_FILE,
    file_record,
    free_place,
    graph_records,
    new_folder,
    write_manifest,
)
from training.release.model_card import write_model_card
from training.release.release import export_graphs, verify_artifact_graphs, write_files
from training.trainer.run.checkpoint import Checkpoint
from training.trainer.run.initial_weights import describe_origin
from training.trainer.run.saved_networks import network_from_artifact, network_from_checkpoint

FREE = ("name", "title", "seed", "data", "probes", "patience")  # in which siblings may differ


def release_calibrated(
    artifact: Bundle,
    siblings: Sequence[Checkpoint],
    train: Split,
    test: Split,
    version: str,
    folder: Path,
    *,
    latency_rounds: int | None = None,
) -> Bundle:
    """Write the artifact NAME-VERSION with its temperature folded in, and return it.

    The temperature is the geometric mean of the siblings'; `train` and `test` are the published
    sets. An int8 graph of the artifact is left out, since its golden logits are of another scale.

    Raises:
        BundleError: a file of the artifact is not the released one.
        ExportError: the artifact has a temperature already, that version exists already, or a run
            is no finished sibling.
        VerificationError: the graphs are not the network, or an answer changed; nothing is written.
    """
    artifact.verify()
    if artifact.manifest.temperature:
        raise ExportError(
            f"the logits of {artifact.path.name} are divided by a temperature already, and once "
            "more would be once too often; calibrate the version before it"
        )
    target = free_place(folder, artifact.name, version)
    fits = tuple(_fit(artifact, sibling, train) for sibling in siblings)
    temperature = math.exp(statistics.fmean(math.log(fit.temperature) for fit in fits))
    network = network_from_artifact(artifact)
    before = GraphRunner(artifact.read_graph(artifact.served_variant)).logits(test.images)
    scale_logits(network, 1 / temperature)
    graphs = export_graphs(network, test.images.shape[1:])
    verification = verify_artifact_graphs(network, graphs.contents, test)
    runner = GraphRunner(graphs.served)
    after = runner.logits(test.images)
    _require_same_answers(before.argmax(1), after.argmax(1))
    manifest = artifact.manifest
    report = TemperatureReport(
        temperature=temperature,
        siblings=fits,
        test_before=measure(before, test.labels, manifest.labels),
        environment=describe_environment(torch.device("cpu")),
    )
    with new_folder(target) as temporary:
        latency = measure_latency(graphs.contents, rounds=latency_rounds)
        write_files(temporary, network, artifact.read_history(), graphs, test)
        calibrated = replace(
            manifest,
            version=version,
            graphs=graph_records(graphs.models, latency),
            golden=file_record(temporary / GOLDEN_FILE),
            history=file_record(temporary / HISTORY_FILE),
            fold=FoldReport(graphs.layers, verification.fold) if verification.fold else None,
            metrics=replace(
                manifest.measured,
                test=measure(after, test.labels, manifest.labels),
                test_time_augmentation=measure_augmented(runner, test),
            ),
            quantization=None,
            temperature=report,
        )
        write_manifest(calibrated, temporary)
        write_model_card(load_bundle(temporary))
    return load_bundle(target)


def _fit(artifact: Bundle, sibling: Checkpoint, train: Split) -> TemperatureSibling:
    """Fit a sibling's temperature on its held-out images, as its served graph answers them."""
    network, recipe = network_from_checkpoint(sibling)
    _require_sibling(artifact, recipe, sibling)
    _, held_out = select(train, recipe.data)
    if held_out is None:
        raise ExportError(
            f"the run of {recipe.name} held no images out; train a sibling with "
            "--set data.held_out=5_000"
        )
    served = export_graphs(network, held_out.images.shape[1:]).served
    logits = GraphRunner(served).logits(held_out.images)
    temperature = fit_temperature(logits, held_out.labels)
    right = logits.argmax(1) == held_out.labels
    return TemperatureSibling(
        seed=sibling.seed,
        epochs=len(sibling.history),
        split_seed=recipe.data.split_seed,
        images=len(held_out),
        accuracy=float(right.mean()),
        temperature=temperature,
        loss_before=mean_loss(logits, held_out.labels),
        loss_after=mean_loss(logits, held_out.labels, temperature),
    )


def _require_sibling(artifact: Bundle, recipe: Recipe, sibling: Checkpoint) -> None:
    """Refuse a run that is not finished, or of another recipe than the artifact's."""
    if len(sibling.history) < recipe.epochs or sibling.progress.step:
        raise ExportError(
            f"the run of {recipe.name} has {len(sibling.history)} of its {recipe.epochs} epochs; "
            "let it finish"
        )
    if sibling.origin:
        raise ExportError(
            f"the run of {recipe.name} began with {describe_origin(sibling.origin)}, which may "
            "have been trained on the images that it holds out; train one from random weights"
        )
    source = recipe_from_dict(artifact.manifest.trained.recipe, artifact.path.name)
    wanted, found = (_decisive(one) for one in (source, recipe))
    for key, value in wanted.items():
        if found[key] != value:
            raise ExportError(
                f"the run is no sibling of {artifact.path.name}: its {key} is {found[key]!r}, "
                f"there it is {value!r}"
            )


def _decisive(recipe: Recipe) -> dict[str, Any]:
    return {key: value for key, value in recipe.to_dict().items() if key not in FREE}


def _require_same_answers(before: np.ndarray, after: np.ndarray) -> None:
    changed = int((before != after).sum())
    if changed:
        raise VerificationError(
            f"{changed} of {len(before):,} answers changed, and a temperature changes none; "
            "nothing is released"
        )
