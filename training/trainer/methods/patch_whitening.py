"""Patch whitening: fixed filters for the first layer that decorrelate what follows.

    x          pixels in [0, 1];   z = (x - mean) / std per colour
    C          covariance of the patches of z, 12 x 12 for 2 x 2 pixels of 3 colours
    C = V diag(l) V'               eigenvectors as columns of V
    filters    v_i / sqrt(l_i + eps) and their negatives, so that a rectifier loses nothing

    w . z = (w / std) . x - (w / std) . mean

so the centring becomes the layer's bias and the network needs no normalization of its own.

Reference:
    D. Page, "How to Train Your ResNet 8: Bag of Tricks", 2019;
    github.com/KellerJordan/cifar10-airbench (MIT): 2 x 2 patches, eps 5e-4, 5,000 images.
"""

from __future__ import annotations

import torch

IMAGES = 5_000
EPSILON = 5e-4


def whitening_filters(
    images: torch.Tensor, side: int = 2, epsilon: float = EPSILON, count: int = IMAGES
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return weight (2 * 3 * side**2, 3, side, side) and bias that whiten pixels in [0, 1].

    images (N, 3, H, W) uint8; the first `count` of them are looked at. Computed in float64 on the
    CPU, so that every device starts from the same filters.
    """
    pixels = images[:count].cpu().double() / 255
    mean = pixels.mean(dim=(0, 2, 3))
    std = pixels.std(dim=(0, 2, 3))
    normalized = (pixels - mean[:, None, None]) / std[:, None, None]
    values, vectors = torch.linalg.eigh(torch.cov(_patches(normalized, side)))
    filters = (vectors / (values + epsilon).sqrt()).T.reshape(-1, 3, side, side)
    filters = torch.cat([filters, -filters]) / std[:, None, None]
    bias = -(filters * mean[:, None, None]).sum(dim=(1, 2, 3))
    return filters.float(), bias.float()


def _patches(images: torch.Tensor, side: int) -> torch.Tensor:
    """Return every patch of (N, 3, H, W) as a column of (3 * side**2, patches)."""
    height, width = (length - side + 1 for length in images.shape[2:])
    planes = [
        images[:, colour, down : down + height, right : right + width].flatten()
        for colour in range(images.shape[1])
        for down in range(side)
        for right in range(side)
    ]
    return torch.stack(planes)
