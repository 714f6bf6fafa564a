"""The manifest of a run's artifact: what training, export and measurement know, as one record."""

from __future__ import annotations

import statistics

import torch

from models.history import EpochRecord
from models.manifest import (
    SCHEMA_VERSION,
    FileRecord,
    FoldReport,
    GraphRecord,
    ImageFolder,
    InitialWeights,
    Manifest,
    Provenance,
    SelectedEpoch,
    Variant,
)
from models.metrics import BestEpoch, Metrics
from models.tensors import INPUT_NAME, SCORE_NAMES, ImageSpec, TensorSpec
from training.data.cifar10 import LABELS, PUBLISHED_MD5, Split
from training.evaluation.environment import describe_environment
from training.evaluation.metrics import measure
from training.evaluation.onnx_runner import GraphRunner
from training.evaluation.test_time_augmentation import measure_augmented
from training.recipes import Recipe
from training.trainer.run.checkpoint import Checkpoint

PENDING = FileRecord("", "")  # of a file that is not written yet


def build_manifest(
    checkpoint: Checkpoint,
    recipe: Recipe,
    version: str,
    graphs: dict[Variant, GraphRecord],
    fold: FoldReport | None,
    served: bytes,
    test: Split,
) -> Manifest:
    """Return the manifest, with `PENDING` for the golden batch and the history.

    `served` is the graph that the metrics are of; input and outputs are those of the test set.
    """
    runner = GraphRunner(served)
    history = [EpochRecord(**row) for row in checkpoint.history]
    best = max(history, key=lambda record: record.test_accuracy)
    labels = labels_of(checkpoint)
    return Manifest(
        schema_version=SCHEMA_VERSION,
        name=recipe.name,
        version=version,
        title=recipe.title,
        labels=labels,
        input=ImageSpec(INPUT_NAME, "uint8", ("N", *test.images.shape[1:])),
        outputs=tuple(TensorSpec(name, "float32", ("N", len(labels))) for name in SCORE_NAMES),
        graphs=graphs,
        golden=PENDING,
        history=PENDING,
        fold=fold,
        metrics=Metrics(
            test=measure(runner.logits(test.images), test.labels, labels),
            best_epoch=BestEpoch(best.epoch, best.test_accuracy),
            test_time_augmentation=measure_augmented(runner, test),
        ),
        provenance=_provenance(checkpoint, history),
    )


def images_of(checkpoint: Checkpoint) -> ImageFolder | None:
    """Return which folder of images a run was trained on; None of CIFAR-10."""
    return ImageFolder(**checkpoint.images) if checkpoint.images else None


def labels_of(checkpoint: Checkpoint) -> tuple[str, ...]:
    """Return the names of a run's classes."""
    images = images_of(checkpoint)
    return tuple(images.train) if images else LABELS


def _provenance(checkpoint: Checkpoint, history: list[EpochRecord]) -> Provenance:
    seconds = [record.train_seconds for record in history]
    result = checkpoint.outcome or {}
    images = images_of(checkpoint)
    return Provenance(
        recipe=checkpoint.recipe,
        seed=checkpoint.seed,
        epochs=len(history),
        data_md5={} if images else PUBLISHED_MD5,
        sessions=tuple(checkpoint.sessions),
        median_epoch_seconds=round(statistics.median(seconds), 3),
        total_seconds=round(sum(seconds), 3),
        export=describe_environment(torch.device("cpu")),
        accuracy_before_recalibration=result.get("accuracy_before_recalibration"),
        initial_weights=InitialWeights(**checkpoint.origin) if checkpoint.origin else None,
        selected=SelectedEpoch(**checkpoint.selected) if checkpoint.selected else None,
        images=images,
    )
