"""CIFAR-10 as published: read without executing pickle code, and only if every checksum is right.

Reference:
    A. Krizhevsky, "Learning Multiple Layers of Features from Tiny Images", 2009;
    https://www.cs.toronto.edu/~kriz/cifar.html ("CIFAR-10 python version").
"""

from __future__ import annotations

import hashlib
import io
import pickle
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from training.errors import DataError

FOLDER = "cifar-10-batches-py"
TRAIN_FILES = tuple(f"data_batch_{number}" for number in range(1, 6))
TEST_FILE = "test_batch"
PUBLISHED_MD5 = {
    "data_batch_1": "c99cafc152244af753f735de768cd75f",
    "data_batch_2": "d4bba439e000b95fd0a9bffe97cbabec",
    "data_batch_3": "54ebc095f3ab1f0389bbae665268c751",
    "data_batch_4": "634d18415352ddfa80567beed471001a",
    "data_batch_5": "482c414d41f54cd18b22e5b47cb7c3cb",
    "test_batch": "40351d587109b95175f43aff81a1287e",
    "batches.meta": "5ff9c542aee3614f3951f8cda6e48888",
}
LABELS = (
    "airplane",
    "automobile",
    "bird",
    "cat",
    "deer",
    "dog",
    "frog",
    "horse",
    "ship",
    "truck",
)
IMAGES_PER_FILE = 10_000
SIDE = 32
IMAGE_SHAPE = (SIDE, SIDE, 3)  # height, width, RGB


@dataclass(frozen=True)
class Split:
    """Images (N, H, W, 3) uint8 RGB and their class indices (N,) int64."""

    images: NDArray[np.uint8]
    labels: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.labels)

    def first(self, count: int) -> Split:
        """Return the first images alone."""
        return Split(self.images[:count], self.labels[:count])


class _ArrayUnpickler(pickle.Unpickler):
    """Load numpy arrays and plain containers; refuse to look up anything else.

    A pickle runs code only through the globals it names, so a short list of harmless ones makes
    reading a file from the internet safe.
    """

    _ALLOWED = frozenset(
        {
            ("numpy.core.multiarray", "_reconstruct"),
            ("numpy._core.multiarray", "_reconstruct"),
            ("numpy", "ndarray"),
            ("numpy", "dtype"),
            ("_codecs", "encode"),
        }
    )

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in self._ALLOWED:
            raise pickle.UnpicklingError(f"it names {module}.{name}, which no CIFAR-10 file needs")
        # numpy moved the module in 2.0; the published files name the old place.
        return super().find_class(module.replace("numpy.core", "numpy._core"), name)


def load_cifar10(data_dir: Path) -> tuple[Split, Split]:
    """Return the 50,000 training and the 10,000 test images, in the published order.

    Raises:
        DataError: a file is missing, truncated, or not the published one.
    """
    folder = find_folder(data_dir)
    train = [_read_batch(folder / name) for name in TRAIN_FILES]
    images = np.concatenate([split.images for split in train])
    labels = np.concatenate([split.labels for split in train])
    return Split(images, labels), load_test_split(data_dir)


def load_test_split(data_dir: Path) -> Split:
    """Return the 10,000 test images alone."""
    return _read_batch(find_folder(data_dir) / TEST_FILE)


def find_folder(data_dir: Path) -> Path:
    """Return the folder that holds the batch files: `data_dir` or `cifar-10-batches-py` in it."""
    for folder in (data_dir / FOLDER, data_dir):
        if (folder / TEST_FILE).is_file() or (folder / TRAIN_FILES[0]).is_file():
            return folder
    raise DataError(
        f"no {FOLDER}/ in {data_dir}; run 'foldnorm fetch --data-dir {data_dir}' to download "
        "CIFAR-10, or name the folder that holds it, or one of your own images, a folder a class"
    )


def read_verified(path: Path) -> bytes:
    """Return a dataset file's bytes after checking them against the published MD5."""
    try:
        content = path.read_bytes()
    except OSError as exc:
        raise DataError(
            f"cannot read {path} ({exc.strerror}); 'foldnorm fetch' restores the dataset"
        ) from exc
    # The published checksum is MD5: it shows a damaged file, and needs no secrecy.
    actual = hashlib.md5(content, usedforsecurity=False).hexdigest()
    expected = PUBLISHED_MD5[path.name]
    if actual != expected:
        raise DataError(
            f"{path} ({len(content):,} bytes) has MD5 {actual}, the published file has {expected}; "
            "delete it and run 'foldnorm fetch'"
        )
    return content


def unpickle_arrays(content: bytes, source: Path) -> dict[bytes, Any]:
    """Return the dictionary of a batch file without executing anything it may contain."""
    try:
        batch = _ArrayUnpickler(io.BytesIO(content), encoding="bytes").load()
    except Exception as exc:  # a hostile pickle can make the unpickler raise nearly anything
        raise DataError(f"{source} is not a CIFAR-10 batch: {exc}") from exc
    if not isinstance(batch, dict):
        raise DataError(f"{source} holds a {type(batch).__name__}, expected a dictionary")
    return batch


def _read_batch(path: Path) -> Split:
    batch = unpickle_arrays(read_verified(path), path)
    planes = np.asarray(batch[b"data"], dtype=np.uint8)  # (10000, 3 * 32 * 32)
    images = planes.reshape(IMAGES_PER_FILE, 3, SIDE, SIDE).transpose(0, 2, 3, 1)
    labels = np.asarray(batch[b"labels"], dtype=np.int64)
    return Split(np.ascontiguousarray(images), labels)


def stratified_split(train: Split, held_out: int, seed: int) -> tuple[Split, Split]:
    """Split off `held_out` images, the same number of each class, chosen by `seed`.

    For anything that selects: the test set is for reporting.

    Raises:
        DataError: `held_out` is not a positive multiple of the number of classes, or too large.
    """
    classes = np.unique(train.labels)
    per_class, rest = divmod(held_out, len(classes))
    smallest = min(int((train.labels == label).sum()) for label in classes)
    if rest or not 0 < per_class < smallest:
        raise DataError(
            f"cannot hold out {held_out} images: take a multiple of {len(classes)} from "
            f"{len(classes)} to {(smallest - 1) * len(classes)}"
        )
    generator = np.random.default_rng(seed)
    chosen = np.zeros(len(train), dtype=bool)
    for label in classes:
        members = np.flatnonzero(train.labels == label)
        chosen[generator.permutation(members)[:per_class]] = True
    kept = ~chosen
    return (
        Split(train.images[kept], train.labels[kept]),
        Split(train.images[chosen], train.labels[chosen]),
    )
