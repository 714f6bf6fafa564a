"""A folder of one's own images: its classes, its files, and what is trained and tested on.

    photos/                      photos/
      train/cat/001.jpg            cat/001.jpg
      train/dog/001.jpg            cat/002.jpg
      test/cat/001.jpg             dog/001.jpg
      test/dog/001.jpg             dog/002.jpg
    a given split                a split drawn by a seed, the same share of every class

Instead of `test/` there may be `val/`. A class is a folder, its name the label, and the classes
stand in the order of their names. Links are followed. What begins with a dot, and what desktops
leave behind, is ignored and counted; files beside the classes are too. Nothing is decoded here.
"""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np

from training.errors import DataError
from training.recipes.recipe import DataRecipe

TRAIN = "train"
TESTS = ("test", "val", "valid", "validation")  # the first that there is
LEFT_BEHIND = frozenset({"thumbs.db", "desktop.ini", "__macosx", "@eadir"})
LAYOUT = "a folder for each class, or train/ and test/ with a folder for each class in both"


@dataclass(frozen=True)
class ImageFile:
    """One file of a class; `label` counts the classes from 0."""

    path: Path
    label: int


@dataclass(frozen=True)
class Listing:
    """The files of a folder, in the order in which they are kept."""

    folder: Path
    labels: tuple[str, ...]
    split: Literal["given", "drawn"]
    train: tuple[ImageFile, ...] = field(repr=False)
    test: tuple[ImageFile, ...] = field(repr=False)
    ignored: int  # files and folders, hidden ones as a rule


def list_images(folder: Path, recipe: DataRecipe) -> Listing:
    """Return a folder's classes and files, each split in an order drawn by `test_seed`.

    What looks at the first images of a split alone so sees all classes.

    Raises:
        DataError: the folder is none, cannot be read, or its classes are not sound.
    """
    top = _Entries.of(folder)
    test_name = next((name for name in TESTS if name in top.folders), None)
    if TRAIN in top.folders and (test_name or set(top.folders) == {TRAIN}):
        if test_name is None:
            raise DataError(
                f"{folder} has {TRAIN}/ and no {TESTS[0]}/ or {TESTS[1]}/; name "
                f"{top.folders[TRAIN]} to have a test split drawn from it, or add the other folder"
            )
        return _given(folder, top, test_name, recipe)
    return _drawn(folder, top, recipe)


def _given(folder: Path, top: _Entries, test_name: str, recipe: DataRecipe) -> Listing:
    others = sorted(top.folders.keys() - {TRAIN, *TESTS})
    if others:
        raise DataError(
            f"{folder} has {TRAIN}/, {test_name}/ and also {_named(others)}; it must hold {LAYOUT}"
        )
    train = _classes(top.folders[TRAIN])
    test = _classes(top.folders[test_name])
    for here, there, missing in (
        (TRAIN, test_name, train.files.keys() - test.files.keys()),
        (test_name, TRAIN, test.files.keys() - train.files.keys()),
    ):
        if missing:
            raise DataError(
                f"{folder}: {_named(sorted(missing))} is a class in {here}/ and not in {there}/; "
                "both need the same classes"
            )
    labels = tuple(train.files)
    files = [
        [ImageFile(path, k) for k, label in enumerate(labels) for path in side.files[label]]
        for side in (train, test)
    ]
    ignored = top.ignored + train.ignored + test.ignored
    return _shuffled(folder, labels, "given", files, ignored, recipe.test_seed)


def _drawn(folder: Path, top: _Entries, recipe: DataRecipe) -> Listing:
    classes = _classes(folder, top)
    train: list[ImageFile] = []
    test: list[ImageFile] = []
    for label, (name, paths) in enumerate(classes.files.items()):
        if len(paths) < 2:
            raise DataError(
                f"the class {name!r} in {folder} has one image, and needs one to train on and one "
                "to test on; add images, or remove its folder"
            )
        count = min(max(1, round(recipe.test_share * len(paths))), len(paths) - 1)
        generator = np.random.default_rng([recipe.test_seed, label])
        chosen = set(generator.permutation(len(paths))[:count].tolist())
        for index, path in enumerate(paths):
            (test if index in chosen else train).append(ImageFile(path, label))
    ignored = classes.ignored
    labels = tuple(classes.files)
    return _shuffled(folder, labels, "drawn", [train, test], ignored, recipe.test_seed)


def _shuffled(
    folder: Path,
    labels: tuple[str, ...],
    split: Literal["given", "drawn"],
    files: Sequence[Sequence[ImageFile]],
    ignored: int,
    seed: int,
) -> Listing:
    generator = np.random.default_rng(seed)
    train, test = (tuple(side[i] for i in generator.permutation(len(side))) for side in files)
    return Listing(folder, labels, split, train, test, ignored)


@dataclass(frozen=True)
class _Entries:
    """What a folder holds, by name, hidden things left out and counted."""

    folders: Mapping[str, Path]
    files: Mapping[str, Path]
    ignored: int

    @classmethod
    def of(cls, folder: Path) -> _Entries:
        """Read a folder.

        Raises:
            DataError: it is none, it cannot be read, or a link in it leads nowhere.
        """
        folders, files, ignored = {}, {}, 0
        try:
            found = sorted(os.listdir(folder))  # noqa: PTH208 - names, not paths
        except NotADirectoryError as exc:
            raise DataError(f"{folder} is a file; name the folder that holds {LAYOUT}") from exc
        except OSError as exc:
            raise DataError(
                f"cannot read the folder {folder} ({exc.strerror}); make it readable"
            ) from exc
        for name in found:
            path = folder / name
            if name.startswith(".") or name.casefold() in LEFT_BEHIND:
                ignored += 1
            elif path.is_dir():
                folders[name] = path
            elif path.exists():
                files[name] = path
            else:
                raise DataError(f"{path} is a link that leads nowhere; remove it, or mend it")
        return cls(folders, files, ignored)


@dataclass(frozen=True)
class _Classes:
    """The files of each class, by its name and in the order of their names."""

    files: Mapping[str, Sequence[Path]]
    ignored: int


def list_classes(folder: Path, fewest: int) -> Mapping[str, Sequence[Path]]:
    """Return the files of each class folder, by its name and in the order of their names.

    Raises:
        DataError: there are fewer classes, one is empty or holds folders, or two are one.
    """
    return _classes(folder, fewest=fewest).files


def _classes(folder: Path, entries: _Entries | None = None, fewest: int = 2) -> _Classes:
    """Return the classes of a folder; raises as `list_classes`."""
    entries = entries or _Entries.of(folder)
    _check_names(folder, entries.folders, fewest)
    files, ignored = {}, entries.ignored + len(entries.files)
    for name, path in entries.folders.items():
        inside = _Entries.of(path)
        ignored += inside.ignored
        if inside.folders:
            raise DataError(
                f"the class folder {path} holds the folder {next(iter(inside.folders))!r}; images "
                "stand right in the folder of their class: move them there"
            )
        if not inside.files:
            hidden = f" ({inside.ignored} hidden ones are ignored)" if inside.ignored else ""
            raise DataError(
                f"the class folder {path} holds no images{hidden}; add some, or remove it"
            )
        files[name] = list(inside.files.values())
    return _Classes(files, ignored)


def _check_names(folder: Path, folders: Mapping[str, Path], fewest: int) -> None:
    if len(folders) < fewest:
        found = f"one class, {next(iter(folders))!r}" if folders else "no folder of images"
        raise DataError(
            f"{folder} holds {found}, and at least {fewest} are needed, each a folder of its images"
            if fewest < 2
            else f"{folder} holds {found}, and at least {fewest} classes are needed: {LAYOUT}"
        )
    alike: dict[str, str] = {}
    places: dict[Path, str] = {}
    for name, path in folders.items():
        if not name.isprintable():
            raise DataError(
                f"the class folder {name!r} in {folder} is no name that can be printed; rename it"
            )
        other = alike.setdefault(unicodedata.normalize("NFC", name).casefold(), name)
        if other != name:
            raise DataError(
                f"the classes {other!r} and {name!r} in {folder} differ in case or spelling alone; "
                "rename one, or merge them"
            )
        same = places.setdefault(path.resolve(), name)
        if same != name:
            raise DataError(
                f"the classes {same!r} and {name!r} in {folder} are one folder, by a link; remove "
                "one"
            )


def _named(names: Sequence[str]) -> str:
    """Return a few names for a sentence."""
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return ", ".join(repr(name) for name in names[:3]) + more
