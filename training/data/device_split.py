"""A dataset split where the network is: training gathers its batches there."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from training.data.cifar10 import Split


@dataclass(frozen=True)
class DeviceSplit:
    """A dataset split on the device: images (N, C, H, W) uint8, labels (N,) int64."""

    images: torch.Tensor
    labels: torch.Tensor

    @classmethod
    def place(cls, split: Split, device: torch.device) -> DeviceSplit:
        """Copy a split to the device."""
        images = torch.from_numpy(split.images).permute(0, 3, 1, 2)  # still NHWC in memory
        return cls(images.to(device), torch.from_numpy(split.labels).to(device))
