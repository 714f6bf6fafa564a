"""The manifest of an artifact: everything that is known of a network, as records.

`manifest.json` holds exactly these fields; those with a default may be missing. A graph is named by
its variant: `folded` and `unfolded` for a network with batch norm, `plain` for one without, and
`int8` for the served one of these, quantized. Shapes name the batch `"N"`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from models.metrics import Metrics, TestMetrics
from models.tensors import ImageSpec, TensorSpec

SCHEMA_VERSION = 1

Variant = Literal["folded", "unfolded", "plain", "int8"]


class BundleError(Exception):
    """An artifact is missing, damaged or of an unknown schema, or has not what is asked of it."""


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
    """Any other file of the artifact."""

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
class Calibration:
    """What the ranges of the activations were taken from: training images, never test images."""

    images: int
    seed: int  # of the choice among the training images
    method: str


@dataclass(frozen=True)
class QuantizationScheme:
    """How numbers became bytes; quantization is symmetric for weights, affine for activations."""

    activations: str
    weights: str
    weight_bits: (
        int  # 7: two products of a byte and a weight fit the 16 bits that AVX2 sums them in
    )
    per_channel: bool
    bias_correction: bool


@dataclass(frozen=True)
class QuantizationEffect:
    """The int8 graph against the float32 graph it was made from, on the published test set.

    Differences are of logits. `emulation_difference` is the largest between the two ways to run
    the graph, integer kernels and their emulation in float32: it is what another machine may
    legitimately answer otherwise, and so the tolerance of the golden logits.
    """

    test: TestMetrics
    accuracy_difference_points: float  # int8 minus float32, in percentage points
    label_changes: int
    right_to_wrong: int
    wrong_to_right: int
    largest_logit_difference: float
    root_mean_square_difference: float
    emulation_difference: float
    emulation_label_changes: int


@dataclass(frozen=True)
class SpeedGain:
    """Run times of both graphs as they are served, measured in turns, at one batch size."""

    batch_size: int
    float32: Latency
    int8: Latency
    ratio: float  # of the medians, float32 over int8


@dataclass(frozen=True)
class QuantizationReport:
    """How the int8 graph was made from another, what that changed, and what it gained."""

    source: Variant
    scheme: QuantizationScheme
    calibration: Calibration
    effect: QuantizationEffect
    speed: tuple[SpeedGain, ...]
    golden: FileRecord
    environment: dict[str, Any]  # commit, versions and hardware of the measurements
    kept: tuple[str, ...] = ()  # layers that stay in float32
    max_loss_points: float = 0.3  # of accuracy, that were accepted


@dataclass(frozen=True)
class TemperatureSibling:
    """A run of the same recipe that held images out: what its own temperature came to on them."""

    seed: int
    epochs: int
    split_seed: int  # which images it held out
    images: int
    accuracy: float
    temperature: float
    loss_before: float
    loss_after: float


@dataclass(frozen=True)
class TemperatureFit:
    """The labelled images that a packed network's temperature was fitted on, and not measured."""

    images: int
    seed: int  # of the choice among the labelled images
    source: str  # name of the folder or the CSV file
    accuracy: float
    loss_before: float
    loss_after: float


@dataclass(frozen=True)
class TemperatureReport:
    """The temperature that was folded into the last layer: all logits were divided by it.

    Fitted on images that siblings held out, never on test images and never on images that a weight
    was trained on; the geometric mean where there are several. That of a packed network was fitted
    on labelled images that were set aside.
    """

    temperature: float
    siblings: tuple[TemperatureSibling, ...]
    test_before: TestMetrics  # the same network before
    environment: dict[str, Any]  # commit, versions and hardware of the fit
    fitted_on: TemperatureFit | None = None  # of a packed network


@dataclass(frozen=True)
class InitialWeights:
    """What a run began with, where that was not random: an earlier run's weights."""

    source: str  # name of the run's folder or of the artifact
    recipe: str
    seed: int
    epochs: int
    sha256: str  # of names and values


@dataclass(frozen=True)
class SelectedEpoch:
    """The epoch whose weights these are: the best on training images that were held out."""

    epoch: int
    images: int
    accuracy: float  # on them


@dataclass(frozen=True)
class ImageFolder:
    """The folder of one's own images that a run was trained and tested on."""

    name: str
    split: Literal["given", "drawn"]
    test_share: float  # of each class, where the split was drawn
    test_seed: int  # of the split and of the order
    train: dict[str, int]  # images of each class, in the order of the labels
    test: dict[str, int]
    train_sha256: str  # of the names and contents of the files, in any order
    test_sha256: str
    skipped: int  # damaged files


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
    # Of the torch network, single view; None where the batch norms were not recalibrated.
    accuracy_before_recalibration: float | None = None
    initial_weights: InitialWeights | None = None
    selected: SelectedEpoch | None = None  # None where they are the last epoch's
    images: ImageFolder | None = None  # None where they are CIFAR-10, as `data_md5` says


@dataclass(frozen=True)
class PackedFrom:
    """The network of others that was packed (`foldnorm pack`), and how."""

    file: str  # its name, or what made it
    sha256: str  # of the ONNX file, as it came
    size_bytes: int
    producer: str  # of the file, as it says
    licence: str | None
    pixels: str  # what the graph does with an image before the network, in words
    scores: str  # where the logits were found
    golden: str  # what the golden images are
    environment: dict[str, Any]  # commit, versions and hardware of the measurements
    # Products in the sums of convolutions and matrix products, added up along the longest way from
    # image to logits: what bounds float32's rounding. None in older manifests.
    summed_products: int | None = None


@dataclass(frozen=True)
class Manifest:
    """The contract between training and serving.

    What only training knows is missing where Foldnorm did not train the network: `history`,
    `provenance`, and `metrics` until they are measured. Then `packed` says where it came from.
    """

    schema_version: int
    name: str
    version: str
    title: str
    labels: tuple[str, ...]
    input: ImageSpec
    outputs: tuple[TensorSpec, ...]
    graphs: dict[Variant, GraphRecord]
    golden: FileRecord
    history: FileRecord | None = None
    fold: FoldReport | None = None
    metrics: Metrics | None = None
    provenance: Provenance | None = None
    quantization: QuantizationReport | None = None
    temperature: TemperatureReport | None = None
    packed: PackedFrom | None = None

    @property
    def trained(self) -> Provenance:
        """How the network was trained.

        Raises:
            BundleError: Foldnorm did not train it.
        """
        if self.provenance is None:
            raise BundleError(
                f"{self.name} {self.version} was packed and not trained by Foldnorm: no recipe and "
                "no run is known of it; name an artifact that 'foldnorm export' made"
            )
        return self.provenance

    @property
    def measured(self) -> Metrics:
        """What it was measured to be.

        Raises:
            BundleError: it was not measured.
        """
        if self.metrics is None:
            raise BundleError(
                f"{self.name} {self.version} was packed and not measured, so no accuracy is known; "
                "name an artifact that 'foldnorm export' made"
            )
        return self.metrics
