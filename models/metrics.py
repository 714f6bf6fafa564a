"""What was measured of a network on labelled images."""

from __future__ import annotations

import base64
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class CalibrationBin:
    """The answers whose probability lies in (low, high], and how often they were right."""

    low: float
    high: float
    count: int
    confidence: float | None  # mean probability of the answers; None where there are none
    accuracy: float | None  # share of them that were right


@dataclass(frozen=True)
class TestedOn:
    """The labelled images of one's own that a network was measured on, in their order."""

    __test__ = False  # pytest: no test class

    name: str  # of the folder or the CSV file
    sha256: str  # of the files' contents and labels, in the order of the answers


@dataclass(frozen=True)
class TestMetrics:
    """Single-view results on labelled images: the published test set, or one's own.

    Classes without an image are not in `per_class_accuracy`. The confusion matrix of more than 100
    classes is left out.
    """

    __test__ = False  # pytest: no test class

    images: int
    correct: int
    accuracy: float
    accuracy_interval_95: tuple[float, ...]  # Wilson score interval
    loss: float
    expected_calibration_error: float  # over the bins of `calibration`
    per_class_accuracy: dict[str, float]
    confusion_matrix: tuple[tuple[int, ...], ...]  # [true class][predicted class]
    correct_bits: str  # base64 of one bit per test image, first image in the highest bit
    calibration: tuple[CalibrationBin, ...] = ()  # 15 of equal width; none in older manifests
    top5_accuracy: float | None = None  # where there are more than 5 classes
    top5_interval_95: tuple[float, ...] = ()  # Wilson score interval
    tested_on: TestedOn | None = None  # None for a published test set

    def correct_mask(self) -> NDArray[np.bool_]:
        """Return for each test image, (images,) bool, whether it was classified right."""
        packed = np.frombuffer(base64.b64decode(self.correct_bits), dtype=np.uint8)
        return np.unpackbits(packed, count=self.images).astype(bool)


@dataclass(frozen=True)
class AugmentedMetrics:
    """Answers averaged over several views of each test image: at that many times the cost.

    Never the headline, since the service looks at an image once.
    """

    views: int
    method: str
    correct: int
    accuracy: float
    accuracy_interval_95: tuple[float, ...]  # Wilson score interval


@dataclass(frozen=True)
class BestEpoch:
    """The epoch that did best *on the test set*: selected on it, so no estimate of anything."""

    epoch: int
    test_accuracy: float


@dataclass(frozen=True)
class Metrics:
    """The headline is the last epoch, single view; the best one stands beside it.

    There is none where Foldnorm did not train the network.
    """

    test: TestMetrics
    best_epoch: BestEpoch | None = None
    test_time_augmentation: AugmentedMetrics | None = None
