"""Crops and mirrored copies of whole batches, each by one gather, and test-time augmentation.

An image is read beyond its border by reflection: row i of a crop shifted by d is row
r(i + d) of the image, r(j) = L - |L - |j||, L the last row. Mirroring reads the columns backwards,
so a crop and a mirroring are one lookup and no padded copy of the dataset is kept.

Reference:
    alternating flip, crops of the whole epoch and test-time augmentation:
    github.com/KellerJordan/cifar10-airbench (MIT).
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch.nn import functional

# Test-time augmentation: rows and columns of each shift and its weight, each also mirrored.
TEST_TIME_SHIFTS = ((0, 0, 0.5), (-1, -1, 0.25), (1, 1, 0.25))
TEST_TIME_PASSES = 2 * len(TEST_TIME_SHIFTS)  # of the network, for each image
TEST_TIME_METHOD = (
    "logits averaged over the image (weight 1/2) and its shifts by one pixel up and left and down "
    "and right, reflected at the border (1/4 each), each half as itself and half mirrored"
)


def crop(
    images: torch.Tensor, indices: torch.Tensor, shift: torch.Tensor, flip: torch.Tensor
) -> torch.Tensor:
    """Return the images at `indices`, moved and perhaps mirrored.

    images (N, 3, H, W) uint8; indices (B,) int64; shift (B, 2) int64, rows and columns by which the
    window moves down and right; flip (B,) bool. Returns (B, 3, H, W) uint8, channels last.
    """
    height, width = images.shape[2:]
    rows = _reflected(torch.arange(height, device=images.device) + shift[:, :1], height)
    columns = _reflected(torch.arange(width, device=images.device) + shift[:, 1:], width)
    columns = torch.where(flip[:, None], columns.flip(1), columns)
    pixels = images.permute(0, 2, 3, 1)  # (N, H, W, 3)
    taken = pixels[indices[:, None, None], rows[:, :, None], columns[:, None, :]]
    return taken.permute(0, 3, 1, 2)


def _reflected(positions: torch.Tensor, length: int) -> torch.Tensor:
    last = length - 1
    return last - (last - positions.abs()).abs()


def resize(images: torch.Tensor, side: int) -> torch.Tensor:
    """Return float images (N, 3, H, W) shrunk to (N, 3, side, side), anti-aliased."""
    if images.shape[-1] == side:
        return images
    return functional.interpolate(images, (side, side), mode="bilinear", antialias=True)


def averaged_logits(
    network: Callable[[torch.Tensor], torch.Tensor], images: torch.Tensor
) -> torch.Tensor:
    """Return the logits (N, classes) averaged over the augmented images of (N, 3, H, W)."""
    height, width = images.shape[2:]
    total = torch.zeros((), device=images.device)
    for down, right, weight in TEST_TIME_SHIFTS:
        rows = _reflected(torch.arange(height, device=images.device) + down, height)
        columns = _reflected(torch.arange(width, device=images.device) + right, width)
        shifted = images[:, :, rows][:, :, :, columns]  # (N, 3, H, W)
        for augmented in (shifted, shifted.flip(3)):
            logits = network(augmented.contiguous(memory_format=torch.channels_last))
            total = total + weight / 2 * logits
    return total
