"""A network on a test set while it is trained, and what a finished run came to."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import torch

from training.data.augmentation import scale_images
from training.data.device_split import DeviceSplit
from training.data.transforms import averaged_logits
from training.trainer.methods.losses import cross_entropy

EVALUATION_BATCH = 500


class Measured(NamedTuple):
    """A network on a split: mean loss, accuracy, and how many classes it ever answers."""

    loss: float
    accuracy: float
    answers: int


@dataclass(frozen=True)
class RunResult:
    """The finished network on the test set.

    The headline is the single view, one pass for each image, as the service does. The six views
    of test-time augmentation (`training.data.transforms`) cost six times as much.
    """

    seed: int
    epochs: int
    single_view_accuracy: float
    six_view_accuracy: float
    accuracy_before_recalibration: float | None  # single view; None without PreciseBN
    train_seconds: float  # steps, averaging and PreciseBN, without any test


@torch.no_grad()
def evaluate_network(
    network: torch.nn.Module,
    split: DeviceSplit,
    probability_clip: float,
    autocast: torch.autocast | None = None,
    *,
    augmented: bool = False,
) -> Measured:
    """Measure a network in inference mode on un-augmented images.

    With `augmented` the logits are averaged as test-time augmentation does.
    """
    network.eval()
    forward = partial(averaged_logits, network) if augmented else network
    # Sums stay on the device: it would wait for each batch's to be read.
    sums: list[torch.Tensor] = []
    for images, labels in zip(
        split.images.split(EVALUATION_BATCH), split.labels.split(EVALUATION_BATCH), strict=True
    ):
        with autocast or nullcontext():
            logits = forward(scale_images(images).contiguous(memory_format=torch.channels_last))
        # images (B, 3, H, W) uint8, logits (B, classes)
        loss = cross_entropy(logits.float(), labels, probability_clip).double() * len(labels)
        answers = logits.argmax(dim=1)
        right = (answers == labels).sum()
        classes = torch.arange(logits.shape[1], device=answers.device)
        answered = (answers[:, None] == classes).any(dim=0)  # (classes,) bool
        sums.append(torch.cat([loss[None], right[None], answered]))
    loss_sum, correct, *given = torch.stack(sums).sum(dim=0).tolist()
    return Measured(
        loss_sum / len(split.labels), correct / len(split.labels), sum(map(bool, given))
    )
