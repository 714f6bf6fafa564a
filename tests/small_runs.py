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

    def on_step(self, epoch: int, step: int, steps: int, loss: float) -> bool:
        """Note it; stop where that was asked for."""
        self.steps.append((epoch, step, steps))
        self.losses.append(loss)
        return (epoch, step) == self.stop_at


def random_images(count: int, seed: int = 0) -> Split:
    """Return random images with random labels."""
    generator = np.random.default_rng(seed)
    images = generator.integers(0, 256, (count, 32, 32, 3), dtype=np.uint8)
    return Split(images, generator.integers(0, 10, count))


def random_split(count: int, seed: int = 0) -> DeviceSplit:
    """Return them where they are trained on."""
    return DeviceSplit.place(random_images(count, seed), torch.device("cpu"))
