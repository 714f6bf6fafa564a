"""What a probe is: it is shown the network around a step or after an epoch and returns numbers."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import nn

from training.data.augmentation import scale_images
from training.data.device_split import DeviceSplit
from training.recipes import Recipe

PROBE_SEED = 0  # of every probe's own draws, as dropout's masks


@dataclass(frozen=True)
class Bench:
    """What probes measure on: the run's data, and its recipe."""

    recipe: Recipe
    train: DeviceSplit
    test: DeviceSplit
    held_out: DeviceSplit | None = None

    def batch(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the probe batch: images (B, 3, H, W) float32, un-augmented, and labels (B,)."""
        count = self.recipe.probes.images
        images = scale_images(self.train.images[:count])
        return images.contiguous(memory_format=torch.channels_last), self.train.labels[:count]


class Probe:
    """Base of all probes: by default it measures nothing and keeps no state.

    `network` is the run's own and must not be changed: work on `duplicate(network)`. Every call is
    made inside `own_draws`.
    """

    def __init__(self, bench: Bench) -> None:
        self.bench = bench

    def before_step(self, network: nn.Module) -> None:
        """See the network before a step at which layers and landscape are due."""

    def after_due_step(self, network: nn.Module) -> Iterator[tuple[str, str, float]]:
        """Yield (measure, layer, value) after the step that `before_step` came before."""
        yield from ()

    def after_step(self, network: nn.Module) -> None:
        """See the network after each step."""

    def after_epoch(self, network: nn.Module) -> Iterator[tuple[str, str, float]]:
        """Yield (measure, layer, value) after an epoch."""
        yield from ()

    def at_point(self, network: nn.Module) -> Iterator[tuple[str, str, float]]:
        """Yield (measure, layer, value) after a step that the recipe names as a point."""
        yield from ()

    def state(self) -> Mapping[str, torch.Tensor]:
        """Return what a stopped run must keep of this probe."""
        return {}

    def restore(self, state: Mapping[str, torch.Tensor]) -> None:
        """Take up what `state` returned."""


def duplicate(network: nn.Module) -> nn.Module:
    """Return a copy of the network that shares no tensor with it."""
    return copy.deepcopy(network)


@contextmanager
def own_draws(device: torch.device) -> Iterator[None]:
    """Draw from generators of the probe's own inside; torch's default ones stay where they are."""
    devices = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices):
        torch.manual_seed(PROBE_SEED)
        yield
