"""One seed per purpose, so that changing how one is used leaves the others' draws alone."""

from __future__ import annotations

from enum import IntEnum

import numpy as np
import torch


class Stream(IntEnum):
    """What random numbers are drawn for; the values are part of every run's identity."""

    INITIALIZATION = 0
    ORDER = 1
    AUGMENTATION = 2
    DROPOUT = 3
    FLIP = 4


def stream_seed(seed: int, stream: Stream, epoch: int = 0) -> int:
    """Return an independent 63-bit seed for a purpose in an epoch."""
    state = np.random.SeedSequence([seed, stream, epoch]).generate_state(1, np.uint64)
    return int(state[0] >> np.uint64(1))


def stream_generator(
    seed: int, stream: Stream, epoch: int = 0, device: torch.device | str = "cpu"
) -> torch.Generator:
    """Return a generator seeded for a purpose in an epoch."""
    return torch.Generator(device).manual_seed(stream_seed(seed, stream, epoch))
