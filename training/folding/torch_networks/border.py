"""Padding with one number for each channel."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional


class BorderPad(nn.Module):
    """Pad the axes behind the channels with a value per channel: (N, C, *S) to (N, C, *S').

    A map s x + t in front of a layer that pads with zeros folds into the layer if the border holds
    -t / s instead, which the map sends to zero. For any size:

        y = pad(x, 0) + value * (1 - pad(1, 0))

    where one of the two terms is zero at every place, so that nothing is rounded.
    """

    values: torch.Tensor

    def __init__(self, padding: tuple[tuple[int, int], ...], values: torch.Tensor) -> None:
        super().__init__()
        self.padding = tuple(size for pair in reversed(padding) for size in pair)
        shape = (1, -1, *(1 for _ in padding))
        self.register_buffer("values", values.reshape(shape))  # (1, C, 1, ...)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return x with its border."""
        inside = functional.pad(torch.ones_like(x[:1, :1]), self.padding)  # (1, 1, *S')
        return functional.pad(x, self.padding) + self.values * (1 - inside)

    def extra_repr(self) -> str:
        """Say what is padded."""
        return f"{self.values.numel()} channels, padding={self.padding}"
