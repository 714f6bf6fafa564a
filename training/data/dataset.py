"""The dataset behind `--data-dir`: CIFAR-10, or a folder of one's own images.

Which of the two it is, its labels and the size of its images are known at once; `load` reads it.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from models.manifest import ImageFolder, Manifest
from models.records import record_from_dict
from models.tensors import ImageSpec
from training.data import cifar10
from training.data.cifar10 import Split
from training.data.image_arrays import DecodedFiles, decode_files, require_memory
from training.data.image_folder import LAYOUT, ImageFile, Listing, list_images
from training.errors import DataError, RecipeError
from training.recipes.recipe import DataRecipe

CHANNELS = 3  # grey images become RGB
NAMED = 5  # of the files that were skipped


@dataclass(frozen=True)
class Loaded:
    """A dataset in memory; `record` says what a folder of one's own held, `remarks` to a person."""

    train: Split
    test: Split
    record: ImageFolder | None = None
    remarks: tuple[str, ...] = ()


@dataclass(frozen=True)
class Cifar10:
    """CIFAR-10 as published."""

    folder: Path
    labels: tuple[str, ...] = cifar10.LABELS
    image_shape: tuple[int, int, int] = cifar10.IMAGE_SHAPE

    def load(self) -> Loaded:
        """Read the training and the test images.

        Raises:
            DataError: a file is missing, truncated, or not the published one.
        """
        return Loaded(*cifar10.load_cifar10(self.folder))

    def load_test(self, expected: ImageFolder | None = None) -> Split:
        """Read the test images alone.

        Raises:
            DataError: as of `load`, or the run was `expected` to be on a folder of images.
        """
        if expected:
            raise DataError(
                f"{self.folder} is CIFAR-10, and the run was trained on the images of "
                f"{expected.name!r}; name that folder"
            )
        return cifar10.load_test_split(self.folder)


@dataclass(frozen=True)
class OwnImages:
    """A folder of one's own images; their files are listed, and none is decoded yet."""

    listing: Listing
    recipe: DataRecipe

    @property
    def labels(self) -> tuple[str, ...]:
        """The names of the class folders."""
        return self.listing.labels

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Height, width and channels of the images as they are trained on."""
        return (self.recipe.size, self.recipe.size, CHANNELS)

    @property
    def spec(self) -> ImageSpec:
        """How a file becomes an image, in training and in serving."""
        return ImageSpec("image", "uint8", ("N", *self.image_shape))

    def load(self) -> Loaded:
        """Decode all images.

        Raises:
            DataError: a file is no image and the recipe does not skip it, a class has none left, or
                there is not enough memory.
        """
        listing = self.listing
        files = len(listing.train) + len(listing.test)
        copied = bool(self.recipe.held_out or self.recipe.images)
        require_memory(files, self.spec, copied=copied)
        train = self._decode(listing.train, "train")
        test = self._decode(listing.test, "test")
        record = ImageFolder(
            name=listing.folder.resolve().name,
            split=listing.split,
            test_share=self.recipe.test_share,
            test_seed=self.recipe.test_seed,
            train=train.counts(self.labels),
            test=test.counts(self.labels),
            train_sha256=train.sha256,
            test_sha256=test.sha256,
            skipped=len(train.skipped) + len(test.skipped),
        )
        return Loaded(train.split, test.split, record, self._remarks(train, test))

    def load_test(self, expected: ImageFolder | None = None) -> Split:
        """Decode the test images alone, those of the run that is `expected`.

        Raises:
            DataError: as of `load`, or they are other images than the run's.
        """
        folder = self.listing.folder
        if expected is None:
            raise DataError(
                f"{folder} holds no {cifar10.FOLDER}/, and the run was trained on CIFAR-10; name "
                "the folder that does"
            )
        require_memory(len(self.listing.test), self.spec, copied=False)
        test = self._decode(self.listing.test, "test")
        if (test.sha256, test.counts(self.labels)) != (expected.test_sha256, expected.test):
            raise DataError(
                f"the test images in {folder} are not those of the run, {len(test.split):,} of "
                f"{len(self.labels):,} classes here and {sum(expected.test.values()):,} of "
                f"{len(expected.test):,} there; name the folder as it was, or train again"
            )
        return test.split

    def _decode(self, files: tuple[ImageFile, ...], part: Literal["train", "test"]) -> DecodedFiles:
        decoded = decode_files(files, self.listing.folder, self.spec, self.recipe.damaged)
        gone = [name for name, count in decoded.counts(self.labels).items() if not count]
        if gone:
            raise DataError(
                f"the class {gone[0]!r} in {self.listing.folder} has no {part} image left, since "
                f"its files are damaged: {decoded.skipped[0]}; add images, or remove the class"
            )
        return decoded

    def _remarks(self, train: DecodedFiles, test: DecodedFiles) -> tuple[str, ...]:
        listing, skipped = self.listing, (*train.skipped, *test.skipped)
        how = "as given" if listing.split == "given" else f"drawn by seed {self.recipe.test_seed}"
        remarks = [
            f"{listing.folder}: {len(self.labels):,} classes, {len(train.split):,} images to train "
            f"on and {len(test.split):,} to test on, {how}; {self.recipe.size} by "
            f"{self.recipe.size} pixels"
        ]
        if listing.ignored:
            remarks.append(
                f"ignored {listing.ignored:,} hidden files and folders, or files beside the classes"
            )
        if skipped:
            more = f"; and {len(skipped) - NAMED:,} more" if len(skipped) > NAMED else ""
            remarks.append(
                f"skipped {len(skipped):,} damaged files: {'; '.join(skipped[:NAMED])}{more}"
            )
        return tuple(remarks)


Dataset = Cifar10 | OwnImages


def images_of(manifest: Manifest, data_dir: Path) -> tuple[Split, Split]:
    """Return the training and the test images of an artifact, read anew from the folder.

    Raises:
        DataError: the folder does not hold them.
    """
    dataset, expected = _dataset_of(manifest, data_dir)
    test = dataset.load_test(expected)  # refuses other images than its own
    return dataset.load().train, test


def tested_images_of(manifest: Manifest, data_dir: Path) -> Split:
    """Return the images that an artifact was tested on, read anew from the folder.

    Raises:
        DataError: the folder does not hold them.
    """
    dataset, expected = _dataset_of(manifest, data_dir)
    return dataset.load_test(expected)


def _dataset_of(manifest: Manifest, data_dir: Path) -> tuple[Dataset, ImageFolder | None]:
    made = manifest.provenance
    table = made.recipe.get("data", {}) if made else {}  # the first recipes had no such table
    recipe = record_from_dict(DataRecipe, table, f"the recipe of {manifest.name}")
    return open_dataset(data_dir, recipe), made.images if made else None


def open_dataset(data_dir: Path, recipe: DataRecipe) -> Dataset:
    """Return the dataset of a folder: CIFAR-10 where there are its files, or one's own images.

    A folder that is not there, or holds no folder, is left to CIFAR-10's own error.

    Raises:
        DataError: the folder is a file, or its classes are not sound.
        RecipeError: the recipe asks another size of CIFAR-10 than it has.
    """
    if data_dir.is_file():
        raise DataError(
            f"{data_dir} is a file; name the folder that holds {cifar10.FOLDER}/, or {LAYOUT}"
        )
    if not _holds_cifar10(data_dir):
        if not _holds_folders(data_dir):
            return Cifar10(data_dir)
        return OwnImages(list_images(data_dir, recipe), recipe)
    if recipe.size != cifar10.SIDE:
        raise RecipeError(
            f"data.size = {recipe.size} must be {cifar10.SIDE} for CIFAR-10, whose images have "
            f"{cifar10.SIDE} by {cifar10.SIDE} pixels; leave it out"
        )
    return Cifar10(data_dir)


def _holds_cifar10(folder: Path) -> bool:
    names = (cifar10.FOLDER, cifar10.TEST_FILE, cifar10.TRAIN_FILES[0])
    return folder.name == cifar10.FOLDER or any((folder / name).exists() for name in names)


def _holds_folders(folder: Path) -> bool:
    try:
        return any(path.is_dir() and not path.name.startswith(".") for path in folder.iterdir())
    except FileNotFoundError:
        return False
    except OSError as exc:
        raise DataError(
            f"cannot read the folder {folder} ({exc.strerror}); make it readable"
        ) from exc
