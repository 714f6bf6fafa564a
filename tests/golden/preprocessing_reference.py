"""What torchvision makes of odd pictures: `tests/golden/preprocessing-reference.json`.

    python -m tests.golden.preprocessing_reference      needs torchvision and Pillow

Of each picture and pipeline it writes the SHA-256 of the pixels. `test_preprocessing` draws the
same pictures again, and holds `models.preprocessing` to the hashes.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

FILE = Path(__file__).with_name("preprocessing-reference.json")
PICTURES = 200
MODES = ("RGB", "RGBA", "L", "LA", "P", "1", "CMYK", "PA")
LARGEST = 400  # pixels of a side
# Resize, crop (height, width) and filter, as the frameworks name them.
PIPELINES: tuple[tuple[str, tuple[int, ...], tuple[int, int], str], ...] = (
    ("shortest-side", (256,), (224, 224), "bilinear"),
    ("shortest-side", (274,), (240, 240), "bicubic"),
    ("shortest-side", (36,), (32, 32), "lanczos"),
    ("shortest-side", (72,), (64, 64), "nearest"),
    ("shortest-side", (48,), (48, 192), "bilinear"),
    ("exact", (224, 224), (224, 224), "bicubic"),
    ("exact", (96, 160), (80, 120), "bilinear"),
    ("exact", (40, 50), (64, 64), "box"),
    ("exact", (100, 60), (100, 60), "hamming"),
)


def pictures() -> Iterator[Image.Image]:
    """Yield pictures of odd sizes and modes, always the same."""
    generator = np.random.default_rng(14)
    for number in range(PICTURES):
        width, height = generator.integers(11, LARGEST, 2)
        if number % 10 == 0:  # extreme proportions, sides of a pixel
            width, height = (1, 60) if number % 20 else (150, 3)
        yield picture(generator, int(width), int(height), MODES[number % len(MODES)])


def picture(generator: np.random.Generator, width: int, height: int, mode: str) -> Image.Image:
    """Return noise of coarse and fine grains, in one of Pillow's modes."""
    coarse = generator.integers(0, 256, (height // 9 + 1, width // 9 + 1, 4), np.uint8)
    noise = coarse.repeat(9, 0).repeat(9, 1)[:height, :width]
    fine = generator.integers(0, 64, (height, width, 4), np.uint8)
    pixels = Image.fromarray((noise // 2 + fine).astype(np.uint8), "RGBA")
    if mode in ("P", "PA"):
        indexed = pixels.convert("RGB").convert("P", palette=Image.Palette.ADAPTIVE, colors=64)
        if mode == "PA":  # a palette in which some colours are transparent
            indexed.info["transparency"] = bytes(range(0, 256, 4))
        return indexed
    return pixels.convert("RGB").convert(mode) if mode in ("1", "CMYK") else pixels.convert(mode)


def digest(pixels: np.ndarray) -> str:
    """Return what stands for pixels (H, W, 3) uint8."""
    return hashlib.sha256(np.ascontiguousarray(pixels).tobytes()).hexdigest()[:16]


def main() -> None:
    """Write the file."""
    import torchvision
    from torchvision.transforms import CenterCrop, Compose, InterpolationMode, Resize

    rows: list[list[str]] = []
    composed = [
        Compose(
            [
                Resize(to[0] if kind == "shortest-side" else to, InterpolationMode(name)),
                CenterCrop(crop),
            ]
        )
        for kind, to, crop, name in PIPELINES
    ]
    for one in pictures():
        colours = (
            one.convert("RGBA").convert("RGB") if "transparency" in one.info else one.convert("RGB")
        )
        rows.append([digest(np.asarray(transform(colours))) for transform in composed])
    table: dict[str, Any] = {
        "torchvision": torchvision.__version__,
        "pillow": Image.__version__,
        "pixels": rows,
    }
    FILE.write_text(json.dumps(table, indent=0) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
