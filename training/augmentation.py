"""Random shift and mirroring on whole batches, where the data lives.

Keras' `ImageDataGenerator` shifts by a *real* number of pixels and interpolates: bilinear,
`fill_mode="nearest"`. The shift therefore blurs, which a whole-pixel crop would not.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch.nn import functional

if TYPE_CHECKING:
    from training.recipe import AugmentationRecipe


def scale_images(images: torch.Tensor) -> torch.Tensor:
    """Return images (N, 3, H, W) uint8 as float32 in [0, 1]."""
    return images.float().div_(255)


def augment(
    images: torch.Tensor, recipe: AugmentationRecipe, generator: torch.Generator
) -> torch.Tensor:
    """Return each image of (N, 3, H, W) float32 shifted and perhaps mirrored.

    Shifts are uniform in ±max_shift of the height and the width, drawn per image and axis.
    """
    count = len(images)
    shift = torch.rand(count, 2, generator=generator, device=images.device)  # x, y
    coin = torch.rand(count, generator=generator, device=images.device)
    shift = shift.mul_(2).sub_(1).mul_(recipe.max_shift)
    return shift_and_flip(images, shift, coin < recipe.flip_probability)


def shift_and_flip(images: torch.Tensor, shift: torch.Tensor, flip: torch.Tensor) -> torch.Tensor:
    """Shift the content of each image by a fraction of its side, then mirror it where `flip`.

    images (N, C, H, W); shift (N, 2) as x, y fractions, positive moves the content left and up;
    flip (N,) bool. Samples between pixels are bilinear, beyond the border the edge pixel.
    """
    affine = images.new_zeros(len(images), 2, 3)
    affine[:, 0, 0] = torch.where(flip, -1.0, 1.0)
    affine[:, 1, 1] = 1.0
    affine[:, :, 2] = 2 * shift  # grid coordinates span the side from -1 to 1
    grid = functional.affine_grid(affine, list(images.shape), align_corners=False)
    return functional.grid_sample(
        images, grid, mode="bilinear", padding_mode="border", align_corners=False
    )
