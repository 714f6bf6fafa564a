"""A served model without a server: pictures in, labels out, in the thread that calls it.

The same files, start-up checks, decoding and session as behind HTTP, hence the same answers; no
queue, no batches of several callers, no deadline.
"""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from models.bundle import MANIFEST_FILE, Bundle, BundleError, load_bundle, scan_catalogue
from models.manifest import Variant
from service.errors import UnknownModelError
from service.images.decode import EncodedImage
from service.inference.providers import choose_provider
from service.inference.session import Session
from service.registry.catalogue import served_variants
from service.registry.loading import open_session
from service.settings import Settings

MAX_BATCH_SIZE = 64  # images that are decoded at once, however many the caller brings
PNG_MODES = ("1", "L", "LA", "P", "RGB", "RGBA", "I", "I;16")

Picture = str | os.PathLike[str] | bytes | Image.Image | NDArray[np.uint8]
ONE_PICTURE = (str, os.PathLike, bytes, Image.Image)


@dataclass(frozen=True)
class Label:
    """One class, with the probability (0 to 1) that the network gives it."""

    index: int
    label: str
    probability: float


@dataclass(frozen=True)
class Prediction(Label):
    """The most probable class of an image, and the `top_k` most probable, best first."""

    top: tuple[Label, ...]


@dataclass(frozen=True)
class LocalModel:
    """A network that is ready to classify, in one thread; several threads may call it.

    Attributes:
        name: as it is served, such as `cats-int8`.
        version: of its artifact, such as `1.1.0`.
        labels: the classes, by index.
    """

    name: str
    version: str
    labels: tuple[str, ...]
    _decode: Callable[[bytes], NDArray[np.uint8]]  # an image file -> (H, W, C)
    _session: Session

    def predict(self, images: Picture | Iterable[Picture], top_k: int = 1) -> list[Prediction]:
        """Return what the network sees, one prediction for each image, in their order.

        Every image is turned upright by its EXIF, cropped to the network's proportions and
        resampled, as the service does it. Arrays are (H, W, 3) uint8 RGB of any size, or
        (N, H, W, 3) for several.

        Args:
            images: one or several of: a path, a file's bytes, a PIL image, an array.
            top_k: how many classes `Prediction.top` names, 1 to all.

        Raises:
            ValueError: `top_k` is out of range, or an array holds no image.
            OSError: a file cannot be read.
            UndecodableImageError: an image is damaged, or of no type that is taken.
            TooManyPixelsError: an image has more pixels than are decoded.
        """
        if not 1 <= top_k <= len(self.labels):
            raise ValueError(
                f"top_k={top_k} is out of range: {self.name} knows {len(self.labels)} classes; "
                f"ask for 1 to {len(self.labels)}"
            )
        return [found for batch in _batches(images) for found in self._predict(batch, top_k)]

    def _predict(self, batch: list[Picture], top_k: int) -> list[Prediction]:
        pixels = np.stack([self._decode(_file_of(picture)) for picture in batch])  # (N, H, W, C)
        scores = self._session.run(pixels)
        best = np.argsort(-scores.logits, axis=1, kind="stable")[:, :top_k]  # (N, top_k)
        chances = np.take_along_axis(scores.probabilities, best, axis=1)
        return [self._prediction(*row) for row in zip(best.tolist(), chances.tolist(), strict=True)]

    def _prediction(self, indices: list[int], chances: list[float]) -> Prediction:
        top = [
            Label(index, self.labels[index], chance)
            for index, chance in zip(indices, chances, strict=True)
        ]
        return Prediction(top[0].index, top[0].label, top[0].probability, tuple(top))


def load_local_model(wanted: str | os.PathLike[str], settings: Settings) -> LocalModel:
    """Return the model of a name or of an artifact's folder, after the service's start-up checks.

    Raises:
        UnknownModelError: no artifact in the settings' folder has a model of this name.
        BundleError: an artifact is missing, damaged or of an unknown schema.
        ModelRefusedError: the model fails its start-up checks.
    """
    name, bundle, variant = _find(wanted, settings)
    provider = choose_provider(settings.cuda)
    session, _ = open_session(bundle, name, variant, provider, settings.graph_optimization)
    spec, limits = bundle.manifest.input, settings.limits
    return LocalModel(
        name=name,
        version=bundle.version,
        labels=bundle.manifest.labels,
        _decode=lambda content: EncodedImage(content, limits).decode(spec),
        _session=session,
    )


def _find(wanted: str | os.PathLike[str], settings: Settings) -> tuple[str, Bundle, Variant]:
    path = Path(wanted)
    if isinstance(wanted, os.PathLike) or len(path.parts) > 1 or (path / MANIFEST_FILE).is_file():
        bundle = load_bundle(path)
        return (bundle.name, bundle, bundle.served_variant)
    if not settings.artifacts.is_dir():
        raise BundleError(
            f"{settings.artifacts} is not there: an installed package brings no trained networks; "
            "name an artifact's folder, or set FOLDNORM_ARTIFACTS to the folder that holds them "
            "(models/artifacts in Foldnorm's sources)"
        )
    bundles, broken = scan_catalogue(settings.artifacts)
    names = {
        f"{name}@{bundle.version}": (name, bundle, variant)
        for bundle in bundles  # the newest version of a name first
        for name, variant in served_variants(bundle)
    }
    for full_name, found in names.items():
        if wanted in (full_name, found[0]):
            return found
    reasons = "".join(f"; {error}" for error in broken.values())
    raise UnknownModelError(
        f"no model {wanted!r} in {settings.artifacts}; there are {', '.join(names) or 'none'}, "
        f"each also without its version{reasons}"
    )


def _batches(images: Picture | Iterable[Picture]) -> Iterator[list[Picture]]:
    one = isinstance(images, ONE_PICTURE) or (isinstance(images, np.ndarray) and images.ndim != 4)
    pictures: Iterator[Picture] = iter([images] if one else images)  # type: ignore[list-item, arg-type]
    while batch := list(islice(pictures, MAX_BATCH_SIZE)):
        yield batch


def _file_of(picture: Picture) -> bytes:
    """Return the bytes of an image file; what is no file yet becomes a PNG, which loses nothing."""
    if isinstance(picture, bytes):
        return picture
    if isinstance(picture, np.ndarray):
        return _png(_image_of(picture))
    return _png(picture) if isinstance(picture, Image.Image) else Path(picture).read_bytes()


def _image_of(array: NDArray[np.uint8]) -> Image.Image:
    if array.dtype != np.uint8 or array.ndim != 3 or array.shape[2] != 3 or not array.size:
        raise ValueError(
            f"an array of {array.dtype} {array.shape} is no image; give uint8 (H, W, 3), RGB, "
            "0 to 255"
        )
    return Image.fromarray(array)


def _png(image: Image.Image) -> bytes:
    exif, file = image.getexif(), io.BytesIO()
    image = image if image.mode in PNG_MODES else image.convert("RGB")
    image.save(file, "PNG", compress_level=0, **({"exif": exif.tobytes()} if exif else {}))
    return file.getvalue()
