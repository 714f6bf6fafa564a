"""What torchvision and timm make of odd pictures: `tests/golden/preprocessing-reference.json`.

    python -m tests.golden.preprocessing_reference      needs torchvision, timm, Pillow

Of each picture and pipeline it writes the SHA-256 of the pixels, and of timm's networks what their
configuration says. `test_preprocessing` draws the same pictures again, and holds
`models.preprocessing` to the hashes.
"""

from __future__ import annotations

import hashlib
import io
import json
import warnings
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import PIL
from numpy.typing import NDArray
from PIL import Image

FILE = Path(__file__).with_name("preprocessing-reference.json")
PICTURES = 200
MODES = ("RGB", "RGBA", "L", "LA", "P", "1", "CMYK", "PA")
LARGEST = 400  # pixels of a side
# Resize, crop (height, width), filter and colours, as the frameworks name them.
PIPELINES: tuple[tuple[str, tuple[int, ...], tuple[int, int], str, str], ...] = (
    ("shortest-side", (256,), (224, 224), "bilinear", "RGB"),
    ("shortest-side", (274,), (240, 240), "bicubic", "RGB"),
    ("shortest-side", (36,), (32, 32), "lanczos", "RGB"),
    ("shortest-side", (72,), (64, 64), "nearest", "RGB"),
    ("shortest-side", (48,), (48, 192), "bilinear", "RGB"),
    ("exact", (224, 224), (224, 224), "bicubic", "RGB"),
    ("exact", (96, 160), (80, 120), "bilinear", "RGB"),
    ("exact", (40, 50), (64, 64), "box", "RGB"),
    ("exact", (100, 60), (100, 60), "hamming", "RGB"),
    ("shortest-side", (31,), (28, 28), "bilinear", "grey"),
)
# Of each way in which timm's configurations differ: filter, crop, squash, share, sides.
NETWORKS = (
    "resnet18.tv_in1k",
    "resnet50.a1_in1k",
    "tinynet_e.in1k",
    "resnet101.tv2_in1k",
    "efficientnet_lite0.ra_in1k",
    "dm_nfnet_f0.dm_in1k",
    "dm_nfnet_f1.dm_in1k",
    "vit_base_patch16_sapiens2.fb",
)
EVERY = 5  # of the pictures goes through timm's pipelines


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


def files() -> Iterator[tuple[str, bytes]]:
    """Yield image files by what they are: each mode and transparency that each format has."""
    generator = np.random.default_rng(15)
    drawn = {mode: picture(generator, 173, 91, mode) for mode in MODES}
    for mode in ("RGB", "RGBA", "L", "LA", "P", "1", "PA"):
        yield f"PNG {mode}", saved(drawn[mode], "PNG")
    for mode, nothing in (("RGB", (90, 90, 90)), ("L", 90), ("1", 0), ("P", 7)):
        yield f"PNG {mode} without a colour", saved(drawn[mode], "PNG", transparency=nothing)
    for mode in ("RGB", "L", "CMYK"):
        yield f"JPEG {mode}", saved(drawn[mode], "JPEG", quality=85)
    yield "JPEG progressive", saved(drawn["RGB"], "JPEG", quality=60, progressive=True)
    for mode in ("P", "L"):
        yield f"GIF {mode}", saved(drawn[mode], "GIF")
    for mode in ("RGB", "RGBA"):
        yield f"WEBP {mode}", saved(drawn[mode], "WEBP", lossless=True)
    for mode in ("RGB", "RGBA", "L", "P", "1"):
        yield f"BMP {mode}", saved(drawn[mode], "BMP")


def saved(image: Image.Image, kind: str, **options: Any) -> bytes:
    """Return a picture as a file."""
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def digest(pixels: NDArray[np.uint8]) -> str:
    """Return what stands for pixels (H, W, C) uint8."""
    return hashlib.sha256(np.ascontiguousarray(pixels).tobytes()).hexdigest()[:16]


def main() -> None:
    """Write the file."""
    import timm
    import torchvision
    from timm.data import create_transform, resolve_data_config
    from torchvision import transforms

    def composed(pipeline: tuple[Any, ...]) -> Any:
        kind, to, crop, name, colours = pipeline
        steps = [
            transforms.Resize(
                to[0] if kind == "shortest-side" else to, transforms.InterpolationMode(name)
            ),
            transforms.CenterCrop(crop),
        ]
        return transforms.Compose([transforms.Grayscale()] * (colours == "grey") + steps)

    def after(steps: list[Any], image: Image.Image) -> str:
        coloured = image.convert("RGB")  # as torchvision's and timm's folders of images do
        return " ".join(digest(np.asarray(step(coloured))) for step in steps)

    warnings.filterwarnings("ignore", "Palette images with Transparency")
    configurations = {
        name: resolve_data_config(pretrained_cfg=timm.get_pretrained_cfg(name).to_dict())
        for name in NETWORKS
    }
    evaluations = [
        # Without the last step, which makes a tensor of the picture.
        transforms.Compose(create_transform(**configuration, use_prefetcher=True).transforms[:-1])
        for configuration in configurations.values()
    ]
    pipelines = [composed(pipeline) for pipeline in PIPELINES]
    table: dict[str, Any] = {
        "torchvision": torchvision.__version__,
        "timm": timm.__version__,
        "pillow": PIL.__version__,
        "pixels": [after(pipelines, one) for one in pictures()],
        "files": {
            name: after(pipelines, Image.open(io.BytesIO(content))) for name, content in files()
        },
        "configurations": configurations,
        "networks": [after(evaluations, one) for one in islice(pictures(), 0, None, EVERY)],
    }
    FILE.write_text(json.dumps(table, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
