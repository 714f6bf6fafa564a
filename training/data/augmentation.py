"""Augmentation on whole batches, where the data lives.

Keras' `ImageDataGenerator` shifts by a *real* number of pixels and interpolates: bilinear,
`fill_mode="nearest"`. The shift therefore blurs, which a whole-pixel crop (`transforms`) would not.
"""

from __future__ import annotations

import torch
from torch.nn import functional

from training.data.seeds import Stream, stream_generator
from training.data.transforms import crop
from training.recipes.recipe import AugmentationRecipe


class EpochAugmentation:
    """The augmentation of one epoch: what is drawn once for it, and its batches.

    The crops of the whole epoch are drawn at once, so they depend neither on the batch size nor on
    the order; jitter and cutout are drawn per batch from the generator of the run.
    """

    def __init__(
        self,
        images: torch.Tensor,
        recipe: AugmentationRecipe,
        seed: int,
        epoch: int,
        generator: torch.Generator,
    ) -> None:
        """Draw for images (N, 3, H, W) uint8 and the epoch with that index, counted from 0."""
        self.images = images
        self.recipe = recipe
        self.generator = generator
        if recipe.gathers:
            shape = (len(images), 2)
            limits = (-recipe.crop, recipe.crop + 1)
            # (N, 2) int64, rows and columns
            self.shift = torch.randint(*limits, shape, generator=generator, device=images.device)
            self.flip = self._flip(seed, epoch)
        self.colour = mean_colour(images) if recipe.cutout or recipe.contrast else None

    def _flip(self, seed: int, epoch: int) -> torch.Tensor:
        """Return (N,) bool: a coin for the first epoch, and from then on in turns."""
        count, device = len(self.images), self.images.device
        if not self.recipe.alternating_flip:
            return torch.zeros(count, dtype=torch.bool, device=device)
        coin = torch.rand(count, generator=stream_generator(seed, Stream.FLIP))
        return ((coin < 0.5) ^ bool(epoch % 2)).to(device)

    def batch(self, indices: torch.Tensor) -> torch.Tensor:
        """Return the augmented images (B, 3, H, W) float32 in [0, 1], or a little beyond."""
        recipe = self.recipe
        if recipe.gathers:
            pixels = crop(self.images, indices, self.shift[indices], self.flip[indices])
        else:
            pixels = self.images[indices]
        images = scale_images(pixels)
        if recipe.interpolates:
            images = augment(images, recipe, self.generator)
        if recipe.brightness or recipe.contrast:
            images = self._jitter(images)
        if recipe.cutout:
            images = self._cut_out(images)
        return images

    def _jitter(self, images: torch.Tensor) -> torch.Tensor:
        """Scale each image's distance from the mean colour and shift all of it.

        Brightness is in units of a quarter, about the standard deviation of CIFAR-10's pixels.
        """
        draws = torch.rand(2, len(images), 1, 1, 1, generator=self.generator, device=images.device)
        bright, contrast = draws.mul_(2).sub_(1)  # each (B, 1, 1, 1) in [-1, 1]
        middle = 0.5 if self.colour is None else self.colour
        images = (images - middle) * (1 + self.recipe.contrast * contrast) + middle
        return images.add(bright, alpha=0.25 * self.recipe.brightness)

    def _cut_out(self, images: torch.Tensor) -> torch.Tensor:
        count, side, square = len(images), images.shape[-1], self.recipe.cutout
        shape = (2, count, 1)
        corner = torch.randint(
            side - square + 1, shape, generator=self.generator, device=images.device
        )
        offset = torch.arange(side, device=images.device) - corner  # (2, B, side)
        inside = (offset >= 0) & (offset < square)
        hole = inside[0][:, None, :, None] & inside[1][:, None, None, :]  # (B, 1, side, side)
        assert self.colour is not None, "a recipe with cutout has the mean colour"
        return torch.where(hole, self.colour, images)


def mean_colour(images: torch.Tensor) -> torch.Tensor:
    """Return the mean (3, 1, 1) in [0, 1] of the first images of (N, 3, H, W) uint8."""
    return images[:5_000].float().mean(dim=(0, 2, 3))[:, None, None] / 255


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
    flip = coin < recipe.flip_probability
    return shift_and_flip(images, shift, flip, recipe.interpolation)


def shift_and_flip(
    images: torch.Tensor, shift: torch.Tensor, flip: torch.Tensor, mode: str = "bilinear"
) -> torch.Tensor:
    """Shift the content of each image by a fraction of its side, then mirror it where `flip`.

    images (N, C, H, W); shift (N, 2) as x, y fractions, positive moves the content left and up;
    flip (N,) bool. Samples between pixels are bilinear or the nearest pixel, by `mode`; beyond the
    border the edge pixel.
    """
    affine = images.new_zeros(len(images), 2, 3)
    affine[:, 0, 0] = 1 - 2 * flip.to(affine.dtype)
    affine[:, 1, 1] = 1.0
    affine[:, :, 2] = 2 * shift  # grid coordinates span the side from -1 to 1
    # (N, H, W, 2): where each pixel is sampled
    grid = functional.affine_grid(affine, list(images.shape), align_corners=False)
    return functional.grid_sample(
        images, grid, mode=mode, padding_mode="border", align_corners=False
    )
