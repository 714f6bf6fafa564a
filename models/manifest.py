"""The manifest of an artefact: everything that is known of a trained network, as records.

`manifest.json` holds exactly these fields. A graph is named by its variant: `folded` and
`unfolded` for a network with batch norm, `plain` for one without. Shapes name the batch `"N"`.
"""

from __future__ import annotations

import base64
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

SCHEMA_VERSION = 1

Variant = Literal["folded", "unfolded", "plain"]


@dataclass(frozen=True)
class TensorSpec:
    """A graph input or output."""

    name: str
    dtype: str
    shape: tuple[int | str, ...]


@dataclass(frozen=True)
class Latency:
    """Run time of one graph alone in onnxruntime, at one optimization level and batch size."""

    optimization: Literal["disable_all", "enable_all"]
    batch_size: int
    threads: int
    runs: int
    median_ms: float
    p10_ms: float
    p90_ms: float


@dataclass(frozen=True)
class GraphRecord:
    """One ONNX file."""

    file: str
    sha256: str
    size_bytes: int
    opset: int
    nodes: dict[str, int]  # operator -> how many
    parameters: int
    macs: int  # multiply-accumulates per image, of convolutions and matrix products
    latency: tuple[Latency, ...] = ()


@dataclass(frozen=True)
class FileRecord:
    """Any other file of the artefact."""

    file: str
    sha256: str


@dataclass(frozen=True)
class FoldedLayer:
    """What became of one batch norm."""

    norm: str
    channels: int
    into: str | None  # the layer that took it up, None where it was refused
    reason: str | None  # why it was refused, None where it was folded
    largest_scale: float | None


@dataclass(frozen=True)
class FoldProof:
    """The verdict on folded against unfolded, on `images` test images and the adversarial inputs.

    Errors are largest absolute logit differences; `scale` is the largest absolute logit.
    """

    images: int
    scale: float
    algebra_error_float64: float
    unfolded_error_float32: float
    folded_error_float32: float
    largest_logit_difference: float
    mean_logit_difference: float
    relative_l2_difference: float
    largest_probability_difference: float
    adversarial_error_ratio: float
    label_changes: int
    unexplained_label_changes: int
    holds: bool


@dataclass(frozen=True)
class FoldReport:
    """Each batch norm, and the proof of the whole."""

    layers: tuple[FoldedLayer, ...]
    proof: FoldProof


@dataclass(frozen=True)
class TestMetrics:
    """Single-view results on the published test set, in its order."""

    __test__ = False  # pytest: no test class

    images: int
    correct: int
    accuracy: float
    accuracy_interval_95: tuple[float, ...]  # Wilson score interval
    loss: float
    expected_calibration_error: float  # 15 equal-width bins of confidence
    per_class_accuracy: dict[str, float]
    confusion_matrix: tuple[tuple[int, ...], ...]  # [true class][predicted class]
    correct_bits: str  # base64 of one bit per test image, first image in the highest bit

    def correct_mask(self) -> NDArray[np.bool_]:
        """Return for each test image, (images,) bool, whether it was classified right."""
        packed = np.frombuffer(base64.b64decode(self.correct_bits), dtype=np.uint8)
        return np.unpackbits(packed, count=self.images).astype(bool)


@dataclass(frozen=True)
class BestEpoch:
    """The epoch that did best *on the test set*: selected on it, so no estimate of anything."""

    epoch: int
    test_accuracy: float


@dataclass(frozen=True)
class Metrics:
    """The headline is the last epoch; the best one stands beside it."""

    test: TestMetrics
    best_epoch: BestEpoch


@dataclass(frozen=True)
class Provenance:
    """How the weights came to be."""

    recipe: dict[str, Any]
    seed: int
    epochs: int
    data_md5: dict[str, str]
    sessions: tuple[dict[str, Any], ...]  # one per process that trained it
    median_epoch_seconds: float
    total_seconds: float
    export: dict[str, Any]  # commit, versions and hardware of the export and its measurements


@dataclass(frozen=True)
class Manifest:
    """The contract between training and serving."""

    schema_version: int
    name: str
    version: str
    title: str
    labels: tuple[str, ...]
    input: TensorSpec
    outputs: tuple[TensorSpec, ...]
    graphs: dict[Variant, GraphRecord]
    golden: FileRecord
    history: FileRecord
    fold: FoldReport | None
    metrics: Metrics
    provenance: Provenance
