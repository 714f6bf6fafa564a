"""Images with their classes that a network is measured on: a folder a class, or a CSV file.

    photos/cat/001.jpg           photos.csv:  path,label
    photos/dog/001.jpg                        cats/001.jpg,cat
                                              dogs/001.jpg,dog

A class is a label of the network, or its index; classes may be absent. Paths in a CSV file are
relative to it. Files are taken in the order of their paths, or of the CSV file's lines, and decoded
a thousand at a time, so that a test set need not fit into memory.
"""

from __future__ import annotations

import csv
import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from models.metrics import TestedOn
from models.tensors import ImageSpec
from training.data.cifar10 import Split
from training.data.image_arrays import FILES_AT_ONCE, decode_files
from training.data.image_folder import ImageFile, list_classes
from training.errors import DataError

HEADER = ["path", "label"]
REMEDY = "mend it, or take it out of the labelled images"
NAMED_LABELS = 3  # in an error


@dataclass
class LabelledImages:
    """Files and their classes, in the order in which they are answered.

    `digest` goes on as they are read: afterwards `tested_on` names them.
    """

    source: Path
    files: tuple[ImageFile, ...]
    _digest: list[str] = field(default_factory=list)

    def chunks(self, spec: ImageSpec) -> Iterator[Split]:
        """Yield the images (n, H, W, C) uint8 and their classes (n,), as the network takes them.

        Raises:
            DataError: a file cannot be read, or is no image that is taken.
        """
        self._digest.clear()
        for start in range(0, len(self.files), FILES_AT_ONCE):
            files = self.files[start : start + FILES_AT_ONCE]
            decoded = decode_files(files, Path(self.source.anchor), spec, "refuse", REMEDY)
            self._digest.append(f"{decoded.contents} {decoded.split.labels.tolist()}")
            yield decoded.split

    def split(self, count: int, seed: int) -> tuple[LabelledImages, LabelledImages]:
        """Return `count` of the images, drawn by `seed`, and the others, each in their order.

        Raises:
            DataError: there would be no others.
        """
        if count >= len(self.files):
            raise DataError(
                f"{self.source} has {len(self.files):,} images, and {count:,} are to be set aside; "
                "take fewer, or add images"
            )
        chosen = np.random.default_rng(seed).permutation(len(self.files))[:count]
        first = np.isin(np.arange(len(self.files)), chosen)
        one, other = (
            tuple(file for file, taken in zip(self.files, mask, strict=True) if taken)
            for mask in (first, ~first)
        )
        return LabelledImages(self.source, one), LabelledImages(self.source, other)

    def sample(self, spec: ImageSpec, count: int) -> NDArray[np.uint8]:
        """Return `count` of the images (n, H, W, C), evenly spaced; all of fewer."""
        chosen = np.unique(np.linspace(0, len(self.files) - 1, count).astype(int))
        files = [self.files[index] for index in chosen]
        root = Path(self.source.anchor)
        return decode_files(files, root, spec, "refuse", REMEDY).split.images

    @property
    def tested_on(self) -> TestedOn:
        """What names the images that were read: two networks measured on the same can be paired."""
        digest = hashlib.sha256("\n".join(self._digest).encode()).hexdigest()
        return TestedOn(self.source.name, digest)


def list_labelled(source: Path, labels: Sequence[str]) -> LabelledImages:
    """Return the labelled images of a folder or a CSV file; none of them is decoded yet.

    Raises:
        DataError: there is none, it cannot be read, or a class is no label of the network.
    """
    source = source.absolute()
    files = _of_folder(source, labels) if source.is_dir() else _of_csv(source, labels)
    return LabelledImages(source, tuple(files))


def _of_folder(folder: Path, labels: Sequence[str]) -> list[ImageFile]:
    classes = list_classes(folder, fewest=1)
    indices = {name: _index(name, labels, f"the class folder {folder / name}") for name in classes}
    named: dict[int, str] = {}
    for name, index in indices.items():
        other = named.setdefault(index, name)
        if other != name:
            raise DataError(
                f"the class folders {other!r} and {name!r} in {folder} are one class, {index}; "
                "merge them, or rename one"
            )
    return [ImageFile(path, indices[name]) for name, paths in classes.items() for path in paths]


def _of_csv(path: Path, labels: Sequence[str]) -> list[ImageFile]:
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = [(number, row) for number, row in enumerate(csv.reader(file), 1) if row]
    except FileNotFoundError as exc:
        raise DataError(
            f"{path} does not exist; name a folder with a folder for each class, or a CSV file of "
            "path and label"
        ) from exc
    except (OSError, UnicodeError, csv.Error) as exc:
        raise DataError(f"cannot read {path} as a CSV file of path and label ({exc})") from exc
    if rows and [cell.strip().casefold() for cell in rows[0][1]] == HEADER:
        del rows[0]
    if not rows:
        raise DataError(f"{path} names no image; each line holds a path and a label")
    return [_of_row(path, number, row, labels) for number, row in rows]


def _of_row(path: Path, number: int, row: list[str], labels: Sequence[str]) -> ImageFile:
    where = f"{path}, line {number}"
    if len(row) != len(HEADER):
        raise DataError(
            f"{where} has {len(row)} cells; each line holds a path and a label, with quotes around "
            "a label that has a comma in it"
        )
    image = path.parent / row[0].strip()
    if not image.is_file():
        raise DataError(f"{where}: there is no file {image}; paths are relative to {path.parent}")
    return ImageFile(image, _index(row[1].strip(), labels, where))


def _index(name: str, labels: Sequence[str], where: str) -> int:
    """Return the class that a label or an index means."""
    if labels.count(name) > 1:
        several = " and ".join(str(k) for k, label in enumerate(labels) if label == name)
        raise DataError(
            f"{where}: {name!r} is the label of the classes {several}; name the class by its index"
        )
    if name in labels:
        return labels.index(name)
    if name.isdecimal() and int(name) < len(labels):
        return int(name)
    some = ", ".join(repr(label) for label in labels[:NAMED_LABELS])
    more = ", …" if len(labels) > NAMED_LABELS else ""
    raise DataError(
        f"{where}: {name!r} is none of the network's {len(labels):,} labels ({some}{more}) and no "
        f"index of one, 0 to {len(labels) - 1}"
    )
