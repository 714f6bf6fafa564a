"""What tests of images share: the rule of the released networks, and one image decoded by it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from models.tensors import ImageSpec
from service.images.decode import EncodedImage
from service.settings import Limits

SPEC = ImageSpec("image", "uint8", ("N", 32, 32, 3))


def decode_image(content: bytes, limits: Limits, spec: ImageSpec = SPEC) -> NDArray[np.uint8]:
    """Return an image's pixels (H, W, 3)."""
    return EncodedImage(content, limits).decode(spec)
