"""Image files to one array of pixels, by the rule that serving applies, decoded on every core."""

from __future__ import annotations

import contextlib
import hashlib
import io
import warnings
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from models.preprocessing import FORMATS, preprocess
from models.tensors import ImageSpec
from training.client.load.machine import free_memory_bytes, usable_cpus
from training.data.cifar10 import Split
from training.data.image_folder import ImageFile
from training.errors import DataError

MAX_PIXELS = 40_000_000  # of a file, as the service by default
FILES_AT_ONCE = 1_024  # handed to the threads


@dataclass(frozen=True)
class DecodedFiles:
    """A split and what its files came to.

    `sha256` is of the names and contents of those that were read, whatever their order, `contents`
    of the contents in their order; `skipped` says of each damaged one what is wrong.
    """

    split: Split
    sha256: str
    contents: str
    skipped: tuple[str, ...]

    def counts(self, labels: Sequence[str]) -> dict[str, int]:
        """Return how many images each class has."""
        found = Counter(self.split.labels.tolist())
        return {name: found[index] for index, name in enumerate(labels)}


def require_memory(images: int, spec: ImageSpec, *, copied: bool) -> None:
    """Refuse images that would not fit into memory, before any of them is decoded.

    `copied` is whether they will stand in memory twice, as where some are held out.

    Raises:
        DataError: they would not.
    """
    free = free_memory_bytes()
    needed = images * spec.image_bytes * (2 if copied else 1)
    if free is not None and needed > free:
        height, width, _ = spec.image_shape
        raise DataError(
            f"{images:,} images of {height} by {width} pixels take {needed / 1e9:,.1f} GB of "
            f"memory{', held-out ones copied' if copied else ''}, and {free / 1e9:,.1f} GB are "
            "free; choose a smaller data.size, or take fewer images"
        )


def decode_files(
    files: Sequence[ImageFile],
    root: Path,
    spec: ImageSpec,
    damaged: Literal["refuse", "skip"],
    remedy: str = "mend or remove it, or skip such files with --set data.damaged=skip",
) -> DecodedFiles:
    """Return the pixels of files in their order, as a network of that input takes them.

    Raises:
        DataError: a file cannot be read, or is no image that is taken, and `damaged` refuses it;
            its message ends with the `remedy`.
    """
    images = np.empty((len(files), *spec.image_shape), np.uint8)
    labels = np.array([file.label for file in files], np.int64)
    read = np.ones(len(files), dtype=bool)
    lines, hashes, skipped = [], [], []
    with warnings.catch_warnings(), ThreadPoolExecutor(usable_cpus() or 1) as threads:
        warnings.simplefilter("ignore")  # Pillow's, of odd metadata; what it cannot read it raises
        for start in range(0, len(files), FILES_AT_ONCE):
            rows = range(start, min(start + FILES_AT_ONCE, len(files)))
            decode = partial(_decode_file, spec=spec, images=images)
            for row, result in zip(
                rows, threads.map(decode, (files[row].path for row in rows), rows), strict=True
            ):
                if isinstance(result, str):
                    name = files[row].path.relative_to(root).as_posix()
                    lines.append(f"{result} {name}".encode(errors="surrogateescape"))
                    hashes.append(result)
                elif damaged == "skip":
                    read[row] = False
                    skipped.append(str(result))
                else:
                    raise DataError(f"{result}; {remedy}") from result
    if skipped:
        images, labels = images[read], labels[read]
    digest = hashlib.sha256(b"\n".join(sorted(lines))).hexdigest()
    contents = hashlib.sha256("\n".join(hashes).encode()).hexdigest()
    return DecodedFiles(Split(images, labels), digest, contents, tuple(sorted(skipped)))


def _decode_file(
    path: Path, row: int, *, spec: ImageSpec, images: NDArray[np.uint8]
) -> str | DataError:
    """Write a file's pixels to a row of (N, H, W, C); return its SHA-256, or what is wrong."""
    try:
        content = path.read_bytes()
    except OSError as exc:
        return DataError(f"cannot read {path} ({exc.strerror})")
    if not content:
        return DataError(f"{path} is empty (0 bytes)")
    try:
        with Image.open(io.BytesIO(content), formats=FORMATS) as image:
            pixels = image.width * image.height
            if pixels <= MAX_PIXELS:
                images[row] = preprocess(image, spec)
    except Exception as exc:  # a damaged file makes Pillow raise nearly anything
        return DataError(_not_decoded(path, content, exc))
    if pixels > MAX_PIXELS:
        return DataError(
            f"{path} has {pixels:,} pixels; at most {MAX_PIXELS:,} are decoded, make it smaller"
        )
    return hashlib.sha256(content).hexdigest()


def _not_decoded(path: Path, content: bytes, error: Exception) -> str:
    """Return why a file is no image, and what it is where Pillow knows it."""
    if isinstance(error, Image.DecompressionBombError | Image.DecompressionBombWarning):
        found = str(error).partition(" exceeds")[0]  # Pillow names a limit of its own
        return f"{path}: {found}; at most {MAX_PIXELS:,} are decoded, make it smaller"
    if not isinstance(error, UnidentifiedImageError):
        return f"{path} is damaged ({type(error).__name__}: {error})"
    taken = f"{', '.join(FORMATS[:-1])} and {FORMATS[-1]} are taken"
    with contextlib.suppress(Exception), Image.open(io.BytesIO(content)) as image:
        return f"{path} is of the type {image.format}, and {taken}: convert it"
    return f"{path} is no image that is known; {taken}"
