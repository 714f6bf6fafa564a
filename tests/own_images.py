"""Folders of images by class, as people have them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image


def write_image(
    path: Path, size: tuple[int, int] = (9, 7), mode: str = "RGB", value: int | None = None
) -> Path:
    """Write an image of noise, or of noise about one grey value; `size` is width and height."""
    path.parent.mkdir(parents=True, exist_ok=True)
    shape = (size[1], size[0], 3)
    pixels = np.random.default_rng([len(path.name), value or 0]).integers(0, 256, shape)
    if value is not None:
        pixels = np.clip(value + pixels // 4 - 32, 0, 255)
    Image.fromarray(pixels.astype(np.uint8)).convert(mode).save(path)
    return path


def write_folder(
    folder: Path, classes: tuple[str, ...] = ("cat", "dog"), each: int = 6, suffix: str = "png"
) -> Path:
    """Write a folder with as many images of each class."""
    for number, name in enumerate(classes):
        for index in range(each):
            value = 20 + 200 * number // len(classes) + index
            write_image(folder / name / f"{index}.{suffix}", value=value)
    return folder
