"""What one request may bring."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Limits:
    """Bounds that are checked before the work that they bound is done."""

    max_body_bytes: int = 16 * 1024 * 1024
    max_images: int = 64
    max_pixels: int = 40_000_000  # of one image, as its header announces
