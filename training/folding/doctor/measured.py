"""How a network's statistics fit its data.

    answers     whether they depend on the image
    gap         answers with the statistics of each batch of 256, against those that were kept
    staleness   statistics of the training images now, against those that were kept

Reference:
    Wu and Johnson 2021, arXiv:2105.07576, section 3 (statistics averaged over batches).
"""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from training.data.cifar10 import Split
from training.export.served_network import ServedNetwork
from training.folding.doctor.finding import Finding

BATCH = 256
BATCHES = 20  # each statistic is then a mean over 5,120 images or more
GAP_POINTS = 1.0  # of accuracy
GAP_DEVIATIONS = 3.0
STALE_SHIFT = 0.5  # of a standard deviation
STALE_RATIO = 2.0  # of variances


@dataclass(frozen=True)
class Gap:
    """Correct answers of the same images, by the statistics that were used."""

    images: int
    kept_correct: int
    batch_correct: int
    only_kept: int
    only_batch: int
    largest_logit_difference: float

    @property
    def points(self) -> float:
        """Accuracy with the statistics of the batch, over that with the kept ones."""
        return 100 * (self.batch_correct - self.kept_correct) / self.images

    @property
    def deviations(self) -> float:
        """McNemar's statistic: how many standard deviations of chance the gap is."""
        unlike = self.only_batch + self.only_kept
        return abs(self.only_batch - self.only_kept) / math.sqrt(unlike) if unlike else 0.0


@dataclass(frozen=True)
class Staleness:
    """How far a layer's kept statistics are from those of the images, medians over channels.

    Attributes:
        shift: |mean - kept mean| / sqrt(kept var + eps).
        ratio: the larger variance over the smaller, eps added to both.
    """

    layer: str
    shift: float
    ratio: float
    largest_shift: float
    largest_ratio: float


def answer_findings(network: nn.Module, test: Split) -> list[Finding]:
    """Return an error where the answer does not depend on the image, or is no number."""
    logits = _logits(copy.deepcopy(network).eval(), test.images[: BATCH * BATCHES])
    sound = np.isfinite(logits).all()
    if sound and len(np.unique(logits.argmax(1))) > 1:
        return []
    found = "the same answer" if sound else "logits that are no numbers"
    return [
        Finding(
            "error",
            "constant_answers",
            "",
            f"{found} for {'all' if sound else 'some'} of {len(logits):,} test images",
            "it has learnt nothing, or lost it; train again with a lower learning rate",
        )
    ]


def measure_gap(network: nn.Module, test: Split) -> Gap:
    """Compare the answers to the first images of a test set, in whole batches."""
    count = min(BATCH * BATCHES, len(test) // BATCH * BATCH) or len(test)
    kept = _logits(copy.deepcopy(network).eval(), test.images[:count])
    batch = _logits(_with_batch_statistics(network), test.images[:count])
    kept_right, batch_right = (one.argmax(1) == test.labels[:count] for one in (kept, batch))
    return Gap(
        images=count,
        kept_correct=int(kept_right.sum()),
        batch_correct=int(batch_right.sum()),
        only_kept=int((kept_right & ~batch_right).sum()),
        only_batch=int((batch_right & ~kept_right).sum()),
        largest_logit_difference=float(np.abs(kept - batch).max()),
    )


def measure_staleness(network: nn.Module, train: Split) -> list[Staleness]:
    """Compare every batch norm's statistics with those of evenly spaced training images.

    Each layer's inputs come from layers that use the statistics of their batch, so that a stale
    layer does not make the layers after it look stale.
    """
    step = max(1, len(train) // (BATCH * BATCHES))
    fresh = _with_batch_statistics(network)
    for norm in _norms(fresh).values():
        norm.track_running_stats = True
        norm.reset_running_stats()
        norm.momentum = None  # the mean over all batches
    _logits(fresh, train.images[::step][: BATCH * BATCHES])
    now = _norms(fresh)
    return [_staleness(name, norm, now[name]) for name, norm in _norms(network).items()]


def gap_findings(gap: Gap) -> list[Finding]:
    """Return a finding if the gap is neither small nor chance."""
    if abs(gap.points) < GAP_POINTS or gap.deviations < GAP_DEVIATIONS:
        return []
    return [
        Finding(
            "warning",
            "train_eval_gap",
            "",
            f"accuracy {100 * gap.batch_correct / gap.images:.2f} % with the statistics of each "
            f"batch of {BATCH}, {100 * gap.kept_correct / gap.images:.2f} % with those kept: "
            f"{gap.points:+.2f} points on {gap.images:,} images, {gap.deviations:.1f} standard "
            "deviations of chance",
            "recompute the statistics on training data, then measure again",
        )
    ]


def staleness_findings(layers: list[Staleness]) -> list[Finding]:
    """Return a finding for every layer whose statistics are another distribution's."""
    return [
        Finding(
            "warning",
            "stale_statistics",
            one.layer,
            f"against training images without augmentation, the median channel's mean is off by "
            f"{one.shift:.2g} standard deviations, its variance by a factor of {one.ratio:.3g} "
            f"(the worst: {one.largest_shift:.2g}, {one.largest_ratio:.3g})",
            "recompute the statistics on training data; a smaller momentum averages over more",
        )
        for one in layers
        if not (one.shift <= STALE_SHIFT and one.ratio <= STALE_RATIO)
    ]


def _norms(network: nn.Module) -> dict[str, _BatchNorm]:
    return {n: layer for n, layer in network.named_modules() if isinstance(layer, _BatchNorm)}


def _with_batch_statistics(network: nn.Module) -> nn.Module:
    """Return a copy in inference mode but for its batch norms."""
    copied = copy.deepcopy(network).eval()
    for norm in _norms(copied).values():
        norm.train()
    return copied


@torch.inference_mode()
def _logits(network: nn.Module, images: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return logits (N, classes) as the network stands, in batches of `BATCH`."""
    served = ServedNetwork(network)
    batches = torch.from_numpy(np.ascontiguousarray(images)).split(BATCH)
    return torch.cat([served(batch)[0] for batch in batches]).numpy()


def _staleness(name: str, kept: _BatchNorm, now: _BatchNorm) -> Staleness:
    mean, var, fresh_mean, fresh_var = (
        np.asarray(buffer.double().numpy())
        for norm in (kept, now)
        for buffer in (norm.running_mean, norm.running_var)
        if buffer is not None
    )
    shift = np.abs(fresh_mean - mean) / np.sqrt(var + kept.eps)
    quotient = (fresh_var + kept.eps) / (var + kept.eps)
    ratio = np.maximum(quotient, 1 / quotient)
    return Staleness(
        name,
        float(np.median(shift)),
        float(np.median(ratio)),
        float(shift.max()),
        float(ratio.max()),
    )
