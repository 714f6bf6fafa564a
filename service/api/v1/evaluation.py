"""The artifacts' evaluations side by side, from their manifests and histories alone.

Answers `GET /v1/compare`: no dataset is needed, and artifacts never change, so it is computed once
for the models that are served.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from fractions import Fraction
from itertools import combinations

from pydantic import BaseModel, Field

from models.bundle import Bundle
from models.history import EpochRecord
from models.manifest import (
    FoldReport,
    GraphRecord,
    Provenance,
    QuantizationReport,
    SelectedEpoch,
    TemperatureReport,
    Variant,
)
from models.metrics import AugmentedMetrics, BestEpoch, TestMetrics
from service.registry.catalogue import Catalogue

THRESHOLDS = (0.70, 0.75, 0.79)  # those that the reference experiment states
TEST_FILE = "test_batch"


class EpochsTo(BaseModel):
    """How soon a test accuracy was reached first."""

    test_accuracy: float
    epoch: int | None = Field(description="Null: never within the epochs trained.")


class TrainingCost(BaseModel):
    """What the training took."""

    epochs: int
    median_epoch_seconds: float
    total_seconds: float
    hardware: str


class ModelEvaluation(BaseModel):
    """Everything that was measured of one artifact."""

    name: str
    version: str
    title: str
    test: TestMetrics | None = Field(
        description="Single view; of the last epoch, or the selected one. Null where nothing was "
        "measured."
    )
    selected: SelectedEpoch | None = Field(
        description="The epoch that was taken for its accuracy on training images that were held "
        "out; null where it is the last one."
    )
    test_time_augmentation: AugmentedMetrics | None = Field(
        description="Over several views of each image, as the service does not look at them."
    )
    best_epoch: BestEpoch | None = Field(
        description="Selected on the test set: it estimates nothing. Null where Foldnorm did not "
        "train the network; then the history is empty."
    )
    epochs_to: list[EpochsTo]
    history: list[EpochRecord]
    training: TrainingCost | None
    graphs: dict[Variant, GraphRecord] = Field(
        description="Per variant: parameters, MACs, size, operators, and run time alone in "
        "onnxruntime at both extremes of its optimization."
    )
    fold: FoldReport | None = Field(description="Null for a network without batch norm.")
    temperature: TemperatureReport | None = Field(
        description="By what the logits are divided, on which images that was fitted, and the "
        "measures before; null where nothing was."
    )
    quantization: QuantizationReport | None = Field(
        description="What int8 changes and gains; null where there is no int8 graph."
    )


class PairedTest(BaseModel):
    """McNemar's exact test on the predictions for the same test images."""

    images: int
    only_first_right: int
    only_second_right: int
    p_value: float


class PairComparison(BaseModel):
    """Two artifacts against each other."""

    first: str
    second: str
    accuracy_difference: float | None = Field(
        description="Second minus first, as a share; null where one was not measured."
    )
    mcnemar: PairedTest | None = Field(
        description="Null where the two were not, or not provably, measured on the same images."
    )


class EvaluationComparison(BaseModel):
    """Answer of `GET /v1/compare`."""

    models: list[ModelEvaluation]
    pairs: list[PairComparison]


class Evaluations:
    """The comparison of the models that are served, kept until others are."""

    def __init__(self) -> None:
        self._latest: tuple[Catalogue, EvaluationComparison] | None = None

    async def of(self, catalogue: Catalogue) -> EvaluationComparison:
        """Return the evaluations side by side; the first call for a catalogue computes them."""
        if self._latest is None or self._latest[0] is not catalogue:
            compared = await asyncio.to_thread(compare_evaluations, catalogue.newest_bundles)
            self._latest = catalogue, compared
        return self._latest[1]


def compare_evaluations(bundles: Sequence[Bundle]) -> EvaluationComparison:
    """Return each artifact's evaluation, and every two of them against each other."""
    return EvaluationComparison(
        models=[_evaluation(bundle) for bundle in bundles],
        pairs=[_pair(first, second) for first, second in combinations(bundles, 2)],
    )


def _evaluation(bundle: Bundle) -> ModelEvaluation:
    manifest = bundle.manifest
    history = bundle.read_history()
    metrics, provenance = manifest.metrics, manifest.provenance
    return ModelEvaluation(
        name=manifest.name,
        version=manifest.version,
        title=manifest.title,
        test=metrics and metrics.test,
        selected=provenance and provenance.selected,
        test_time_augmentation=metrics and metrics.test_time_augmentation,
        best_epoch=metrics and metrics.best_epoch,
        epochs_to=[_epochs_to(history, threshold) for threshold in THRESHOLDS],
        history=history,
        training=provenance and _training_cost(provenance),
        graphs=manifest.graphs,
        fold=manifest.fold,
        temperature=manifest.temperature,
        quantization=manifest.quantization,
    )


def _training_cost(provenance: Provenance) -> TrainingCost:
    machines = (str(session.get("hardware", "unknown")) for session in provenance.sessions)
    return TrainingCost(
        epochs=provenance.epochs,
        median_epoch_seconds=provenance.median_epoch_seconds,
        total_seconds=provenance.total_seconds,
        hardware=", ".join(dict.fromkeys(machines)),
    )


def _epochs_to(history: Sequence[EpochRecord], threshold: float) -> EpochsTo:
    reached = (record.epoch for record in history if record.test_accuracy >= threshold)
    return EpochsTo(test_accuracy=threshold, epoch=next(reached, None))


def _pair(first: Bundle, second: Bundle) -> PairComparison:
    left, right = (bundle.manifest.metrics for bundle in (first, second))
    both = (left.test, right.test) if left and right else None
    return PairComparison(
        first=f"{first.name}@{first.version}",
        second=f"{second.name}@{second.version}",
        accuracy_difference=both and both[1].accuracy - both[0].accuracy,
        mcnemar=_paired_test(*both) if both and _same_test_set(first, second) else None,
    )


def _same_test_set(first: Bundle, second: Bundle) -> bool:
    left, right = (_test_set(bundle) for bundle in (first, second))
    return left is not None and left == right


def _test_set(bundle: Bundle) -> tuple[int, str] | None:
    """Return what tells a test set from others: how many images, and the hash of its files."""
    metrics, provenance = bundle.manifest.metrics, bundle.manifest.provenance
    if metrics and metrics.test.tested_on:
        return metrics.test.images, metrics.test.tested_on.sha256
    if not metrics or not provenance:
        return None
    digest = provenance.data_md5.get(TEST_FILE)
    if folder := provenance.images:
        digest = f"{folder.test_sha256} in the order of {folder.test_seed}"
    return (metrics.test.images, digest) if digest else None


def _paired_test(left: TestMetrics, right: TestMetrics) -> PairedTest:
    first, second = left.correct_mask(), right.correct_mask()
    only_first, only_second = int((first & ~second).sum()), int((second & ~first).sum())
    return PairedTest(
        images=left.images,
        only_first_right=only_first,
        only_second_right=only_second,
        p_value=mcnemar_exact(only_first, only_second),
    )


def mcnemar_exact(only_first_right: int, only_second_right: int) -> float:
    """Return the two-sided p value of McNemar's exact test.

    Only the images that one network has right and the other wrong count. If both networks were as
    good, each of these would be a fair coin, so with n of them and the smaller count k

        p = min(1, 2 * sum_{i <= k} C(n, i) / 2^n)

    computed in whole numbers and rounded once; a p below the smallest float is 0.

    Reference:
        McNemar 1947, "Note on the sampling error of the difference between correlated proportions".
    """
    trials = only_first_right + only_second_right
    smaller = min(only_first_right, only_second_right)
    ways, tail = 1, 0
    for successes in range(smaller + 1):
        tail += ways
        ways = ways * (trials - successes) // (successes + 1)
    return min(1.0, float(Fraction(2 * tail, 2**trials)))
