"""What goes into a graph and comes out of it: the one place where sizes and pixels are stated.

Everything else asks these records: loader, start-up checks, decoding and training.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

ColourOrder = Literal["RGB", "grey"]
Resize = Literal["central-crop", "shortest-side", "exact"]
Interpolation = Literal["lanczos", "bicubic", "bilinear", "nearest", "box", "hamming"]
Transparency = Literal["white", "ignored"]

INPUT_NAME = "image"  # of every graph that is served
SCORE_NAMES = ("logits", "probabilities")  # the outputs of every graph that is served


@dataclass(frozen=True)
class TensorSpec:
    """A graph input or output; its first axis is the batch."""

    name: str
    dtype: str
    shape: tuple[int | str, ...]


@dataclass(frozen=True)
class ImageSpec(TensorSpec):
    """The input of a graph, (N, H, W, C) uint8, and how a picture becomes one row of it.

    C is 3, or 1 for `grey`. `models.preprocessing` has the rules; of `resize_to` central-crop has
    no number, shortest-side one, exact two, height and width. Transparency is laid on white, or
    ignored as most training pipelines do. A manifest that says nothing means Foldnorm's own rule.
    """

    colour_order: ColourOrder = "RGB"
    resize: Resize = "central-crop"
    resize_to: tuple[int, ...] = ()
    interpolation: Interpolation = "lanczos"
    transparency: Transparency = "white"

    @cached_property
    def image_shape(self) -> tuple[int, int, int]:
        """Height, width and channels of one image."""
        height, width, channels = (size for size in self.shape[1:] if isinstance(size, int))
        return height, width, channels

    @property
    def image_bytes(self) -> int:
        """Bytes of one image, one for each channel of a pixel."""
        return math.prod(self.image_shape)
