"""What decoding a photograph at a fraction of its size would change, and what it would save.

    python -m benchmarks.preprocessing PHOTOGRAPHS [--output benchmarks/results/preprocessing.json]

PHOTOGRAPHS is a folder of image files, searched to any depth; what is no JPEG is made one, quality
90. Each is resized by its shorter side to several sizes, decoded in full and by Pillow's draft
mode, which keeps `gap` times that size at least; the differences are of levels of 255. Beside it:
how many pictures of the tests become other pixels when only the part that is kept is resampled, and
milliseconds of a JPEG of 12 million pixels. The last line of stdout is one JSON document.
"""

from __future__ import annotations

import argparse
import io
import json
import statistics
import time
from collections.abc import Iterator, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from benchmarks.rig.environment import describe_machine
from models.preprocessing import DRAFT_GAP, FILTERS, preprocess
from models.tensors import ImageSpec, Interpolation
from tests.golden.preprocessing_reference import PIPELINES, pictures, saved

PACKAGES = ("numpy", "pillow")
SHORT_SIDES = (32, 48, 64, 96, 128, 160, 224)
GAPS = (1, 2, 3, DRAFT_GAP)
INTERPOLATIONS: tuple[Interpolation, ...] = ("bilinear", "bicubic", "lanczos")
LARGE = (4000, 3000)
RUNS = 15


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, print and perhaps write the results."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("photographs", type=Path)
    parser.add_argument("--output", type=Path)
    given = parser.parse_args(arguments)
    photographs = dict(_photographs(given.photographs))
    document = {
        "benchmark": "preprocessing",
        "environment": describe_machine()
        | {"versions": {package: metadata.version(package) for package in PACKAGES}},
        "photographs": sorted(photographs),
        "short_sides": SHORT_SIDES,
        "draft": [
            _draft(photographs.values(), interpolation, gap)
            for interpolation in INTERPOLATIONS
            for gap in GAPS
        ],
        "part_alone": _part_alone(),
        "large": _large(max(photographs.values(), key=lambda file: _size(file)[0])),
    }
    if given.output is not None:
        given.output.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(document))  # noqa: T201 - the result


def _photographs(folder: Path) -> Iterator[tuple[str, bytes]]:
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            try:
                image = Image.open(path)
            except UnidentifiedImageError:
                continue
            content = path.read_bytes()
            if image.format != "JPEG":
                content = saved(image.convert("RGB"), "JPEG", quality=90)
            yield path.name, content


def _size(content: bytes) -> tuple[int, int]:
    return Image.open(io.BytesIO(content)).size


def _resized(size: tuple[int, int], short: int) -> tuple[int, int]:
    longer = int(short * max(size) / min(size))
    return (short, longer) if size[0] <= size[1] else (longer, short)


def _drafted(
    content: bytes, short: int, interpolation: Interpolation, gap: int
) -> NDArray[np.uint8] | None:
    """Return a photograph resized from a draft, (H, W, 3); None where none is smaller."""
    image = Image.open(io.BytesIO(content))
    whole = image.size
    draft = image.draft(None, (gap * short, gap * short))
    if draft is None or image.size == whole:
        return None
    size = _resized(whole, short)
    part = image.convert("RGB").resize(size, FILTERS[interpolation], box=(0, 0, *draft[1][2:]))
    return np.asarray(part)


def _draft(contents: Any, interpolation: Interpolation, gap: int) -> dict[str, Any]:
    largest, means = [0.0], [0.0]
    for content in contents:
        for short in SHORT_SIDES:
            drafted = _drafted(content, short, interpolation, gap)
            if drafted is None:
                continue
            image = Image.open(io.BytesIO(content)).convert("RGB")
            full = image.resize(_resized(image.size, short), FILTERS[interpolation])
            difference = np.abs(np.asarray(full).astype(int) - drafted)
            largest.append(float(difference.max()))
            means.append(float(difference.mean()))
    return {
        "interpolation": interpolation,
        "gap": gap,
        "cases": len(means) - 1,
        "largest_difference": max(largest),
        "largest_mean_difference": round(max(means), 3),
    }


def _part_alone() -> dict[str, int]:
    """Count what becomes of the tests' pictures when Pillow resamples the kept part alone."""
    cases = other = 0
    for picture in pictures():
        image = picture.convert("RGBA").convert("RGB")
        for kind, to, (height, width), interpolation, colours in PIPELINES:
            if kind != "shortest-side" or colours != "RGB":
                continue
            across, down = _resized(image.size, to[0])
            if across < width or down < height:
                continue
            x, y = image.width / across, image.height / down
            left, top = round((across - width) / 2), round((down - height) / 2)
            box = (left * x, top * y, (left + width) * x, (top + height) * y)
            resampling = FILTERS[interpolation]  # type: ignore[index]
            part = np.asarray(image.resize((width, height), resampling, box=box))
            whole = image.resize((across, down), resampling)
            kept = np.asarray(whole.crop((left, top, left + width, top + height)))
            cases, other = cases + 1, other + (not np.array_equal(part, kept))
    return {"cases": cases, "other_pixels": other}


def _large(content: bytes) -> dict[str, Any]:
    """Measure a large photograph in full and as a draft, in turns."""
    image = Image.open(io.BytesIO(content)).resize(LARGE, Image.Resampling.BICUBIC)
    content = saved(image, "JPEG", quality=90)
    spec = ImageSpec(
        "image",
        "uint8",
        ("N", 224, 224, 3),
        resize="shortest-side",
        resize_to=(256,),
        interpolation="bicubic",
    )
    full: list[float] = []
    drafts: list[float] = []
    for _ in range(RUNS):
        begun = time.perf_counter()
        preprocess(Image.open(io.BytesIO(content)), spec)
        between = time.perf_counter()
        _drafted(content, 256, "bicubic", DRAFT_GAP)
        full.append(1000 * (between - begun))
        drafts.append(1000 * (time.perf_counter() - between))
    return {
        "pixels": LARGE[0] * LARGE[1],
        "bytes": len(content),
        "runs": RUNS,
        "full_median_ms": round(statistics.median(full), 1),
        "draft_median_ms": round(statistics.median(drafts), 1),
    }


if __name__ == "__main__":
    main()
