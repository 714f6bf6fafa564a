"""The network as it is served: images as bytes in, logits and probabilities out."""

from __future__ import annotations

import torch
from torch import nn


class ServedNetwork(nn.Module):
    """Preprocessing, network and softmax in one graph, so that serving cannot skew from training.

    image (N, H, W, C) uint8 RGB -> logits (N, classes), probabilities (N, classes)
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, image: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return logits and probabilities in the dtype of the network's weights."""
        dtype = next(self.network.parameters()).dtype
        pixels = image.permute(0, 3, 1, 2).to(dtype)  # (N, C, H, W)
        logits = self.network(pixels / 255)
        return logits, torch.softmax(logits, dim=1)
