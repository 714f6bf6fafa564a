"""The images that every system gets, as the request bodies it takes.

    png      one real test image, as a PNG file
    uint8    64 images as they lie in memory: 64 * 32 * 32 * 3 bytes
    v2       the same tensor as an Open Inference Protocol request with binary data

Bodies differ from each other and are sent in turn, so that a cache cannot flatter anybody.
"""

from __future__ import annotations

import io
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
from PIL import Image

from benchmarks.rig.server import ROOT

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

FIXTURE = ROOT / "tests" / "fixtures" / "cifar10-test-100.npz"
BATCH_IMAGES = 64
BATCHES = 8

BodyKind = Literal["png", "uint8", "v2"]


@dataclass(frozen=True)
class Bodies:
    """Request bodies of one kind, their headers, and the images in each: (B, N, 32, 32, 3)."""

    kind: BodyKind
    headers: dict[str, str]
    contents: tuple[bytes, ...]
    images: NDArray[np.uint8]

    def write(self, folder: Path) -> Path:
        """Write what `rotate.lua` reads, and return the folder."""
        folder.mkdir(parents=True)
        lines = [f"{name}: {value}" for name, value in self.headers.items()]
        (folder / "headers").write_text("\n".join(lines) + "\n", encoding="ascii")
        for index, content in enumerate(self.contents, start=1):
            (folder / f"{index}.body").write_bytes(content)
        return folder


def real_images() -> NDArray[np.uint8]:
    """Return the real test images of the repository's fixture, (100, 32, 32, 3)."""
    with np.load(FIXTURE) as fixture:
        images: NDArray[np.uint8] = fixture["images"]
    return images


def bodies(kind: BodyKind, batch_images: int = BATCH_IMAGES) -> Bodies:
    """Return the bodies of one kind; `batch_images` to each of those that hold several."""
    images = real_images()
    if kind == "png":
        contents = tuple(_png(image) for image in images)
        return Bodies(kind, {"Content-Type": "image/png"}, contents, images[:, None])
    generator = np.random.default_rng(0)
    batches = images[generator.integers(0, len(images), (BATCHES, batch_images))]
    arrays = tuple(batch.tobytes() for batch in batches)
    headers = {"Content-Type": "application/octet-stream"}
    if kind == "uint8":
        return Bodies(kind, headers, arrays, batches)
    head = _v2_head(batches.shape[1:])
    headers["Inference-Header-Content-Length"] = str(len(head))
    return Bodies(kind, headers, tuple(head + array for array in arrays), batches)


def _png(image: NDArray[np.uint8]) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "PNG")
    return buffer.getvalue()


def _v2_head(shape: tuple[int, ...]) -> bytes:
    tensor = {
        "name": "image",
        "datatype": "UINT8",
        "shape": list(shape),
        "parameters": {"binary_data_size": int(np.prod(shape))},
    }
    output = {"name": "probabilities", "parameters": {"binary_data": True}}
    return json.dumps({"inputs": [tensor], "outputs": [output]}).encode()
