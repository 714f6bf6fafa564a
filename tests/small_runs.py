"""What tests of whole runs train on, and who watches."""

from __future__ import annotations

import numpy as np
import torch

from training.data.cifar10 import Split
from training.data.device_split import DeviceSplit


class Observer:
    """Keeps the steps and their losses, and may ask the run to stop."""

    def __init__(self, stop_at: tuple[int, int] | None = None) -> None:
        self.stop_at = stop_at  # epoch, step
        self.steps: list[tuple[int, int, int]] = []
        self.losses: list[float] = []

    def on_step(self, epoch: int, step: int, steps: int, loss: float) -> None:
        """Note it, or stop."""
        self.steps.append((epoch, step, steps))
        self.losses.append(loss)
        if (epoch, step) == self.stop_at:
            raise KeyboardInterrupt

    def on_epoch(self, record: object) -> None:
        """Ignore it."""


def random_split(count: int, seed: int = 0) -> DeviceSplit:
    """Return random images with random labels."""
    generator = np.random.default_rng(seed)
    images = generator.integers(0, 256, (count, 32, 32, 3), dtype=np.uint8)
    labels = generator.integers(0, 10, count)
    return DeviceSplit.place(Split(images, labels), torch.device("cpu"))
