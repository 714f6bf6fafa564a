"""Which dataset a folder holds, and how its files become arrays."""

import re
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from models.preprocessing import preprocess
from tests.own_images import write_folder, write_image
from training.data import image_arrays
from training.data.dataset import Cifar10, OwnImages, open_dataset
from training.errors import DataError, RecipeError
from training.recipes.recipe import DataRecipe

SMALL = DataRecipe(size=8)


@pytest.fixture
def folder(tmp_path):
    return write_folder(tmp_path / "pets", each=10)


def test_cifar10_is_recognised_first(folder):
    (folder / "cifar-10-batches-py").mkdir()
    assert isinstance(open_dataset(folder, DataRecipe()), Cifar10)
    assert isinstance(open_dataset(folder / "cifar-10-batches-py", DataRecipe()), Cifar10)


def test_cifar10_has_one_size(tmp_path):
    (tmp_path / "cifar-10-batches-py").mkdir()
    with pytest.raises(RecipeError, match=r"data.size = 8 must be 32 for CIFAR-10.*; leave it out"):
        open_dataset(tmp_path, SMALL)


def test_a_folder_without_folders_names_both_datasets(tmp_path):
    write_image(tmp_path / "loose.png")
    with pytest.raises(DataError, match=r"no cifar-10-batches-py/ in .* a folder a class"):
        open_dataset(tmp_path, SMALL).load()


def test_a_file_in_place_of_a_folder_is_refused(tmp_path):
    path = write_image(tmp_path / "a.png")
    with pytest.raises(DataError, match=r"a.png is a file; name the folder that holds"):
        open_dataset(path, SMALL)


def test_images_of_any_size_and_mode_become_what_serving_makes_of_them(folder):
    for index, (size, mode) in enumerate(
        [((40, 20), "L"), ((3, 5), "RGB"), ((64, 64), "RGBA"), ((9, 9), "P"), ((8, 8), "LA")]
    ):
        write_image(folder / "cat" / f"odd-{index}.png", size, mode)
    dataset = open_dataset(folder, SMALL)
    assert isinstance(dataset, OwnImages)
    loaded = dataset.load()
    assert loaded.train.images.shape == (20, 8, 8, 3)
    for file, pixels in zip(dataset.listing.train, loaded.train.images, strict=True):
        with Image.open(file.path) as image:
            assert np.array_equal(pixels, preprocess(image, dataset.spec))
    assert loaded.train.labels.tolist() == [file.label for file in dataset.listing.train]


def test_the_record_names_the_images_by_class_and_by_content(folder):
    record = open_dataset(folder, SMALL).load().record
    assert record.train == {"cat": 8, "dog": 8}
    assert record.test == {"cat": 2, "dog": 2}
    assert (record.name, record.split, record.skipped) == ("pets", "drawn", 0)
    moved = folder.rename(folder.with_name("animals"))
    assert open_dataset(moved, SMALL).load().record == replace(record, name="animals")
    write_image(moved / "cat" / "0.png", value=7)
    changed = open_dataset(moved, SMALL).load().record
    digests = {record.train_sha256, record.test_sha256}
    assert len(digests & {changed.train_sha256, changed.test_sha256}) == 1


def test_only_the_images_of_the_run_are_taken_for_its_test_images(folder):
    dataset = open_dataset(folder, SMALL)
    loaded = dataset.load()
    again = dataset.load_test(loaded.record)
    assert np.array_equal(again.images, loaded.test.images)
    with pytest.raises(DataError, match=r"the test images in .* are not those of the run"):
        open_dataset(folder, DataRecipe(size=8, test_seed=5)).load_test(loaded.record)
    with pytest.raises(DataError, match="the run was trained on CIFAR-10"):
        dataset.load_test(None)
    with pytest.raises(DataError, match=r"is CIFAR-10, and the run was trained on .* 'pets'"):
        Cifar10(folder).load_test(loaded.record)


def truncated(path):
    content = write_image(path, (60, 60)).read_bytes()
    path.write_bytes(content[:200])


def text(path):
    path.write_text("a note")


def tiff(path):
    Image.new("RGB", (4, 4)).save(path, "TIFF")


def huge(path):
    Image.new("1", (7_000, 7_000)).save(path)


def bomb(path):
    Image.new("1", (20_000, 20_000)).save(path)


BROKEN = [
    (truncated, r"is damaged \(OSError: image file is truncated"),
    (lambda path: path.touch(), r"is empty \(0 bytes\)"),
    (text, "is no image that is known; PNG, JPEG, WEBP, BMP and GIF are taken"),
    (tiff, "is of the type TIFF, and PNG, JPEG, WEBP, BMP and GIF are taken: convert it"),
    (huge, "has 49,000,000 pixels; at most 40,000,000 are decoded"),
    (bomb, r"Image size \(400000000 pixels\); at most 40,000,000 are decoded"),
]


@pytest.mark.parametrize(("spoil", "message"), BROKEN)
def test_a_file_that_is_no_sound_image_is_named(folder, spoil, message):
    spoil(folder / "cat" / "spoilt.png")
    with pytest.raises(DataError, match=f"cat/spoilt.png:? ?{message}") as refused:
        open_dataset(folder, SMALL).load()
    assert str(refused.value).endswith("skip such files with --set data.damaged=skip")
    assert "\n" not in str(refused.value)


def test_damaged_files_can_be_skipped_and_are_counted(folder):
    for index, (spoil, _) in enumerate(BROKEN[:4]):
        spoil(folder / "cat" / f"spoilt-{index}.png")
    loaded = open_dataset(folder, replace(SMALL, damaged="skip")).load()
    assert len(loaded.train) + len(loaded.test) == 20
    assert sum(loaded.record.train.values()) == len(loaded.train)
    assert loaded.record.skipped == 4
    assert re.match(r"skipped 4 damaged files: .*/cat/spoilt-\d.png is", loaded.remarks[-1])


def test_a_class_whose_files_are_all_damaged_is_refused(folder):
    for path in (folder / "cat").iterdir():
        path.write_bytes(b"")
    with pytest.raises(DataError, match=r"the class 'cat' in .* has no train image left"):
        open_dataset(folder, replace(SMALL, damaged="skip")).load()


def test_images_that_would_not_fit_into_memory_are_refused_before_one_is_decoded(
    folder, monkeypatch
):
    (folder / "cat" / "0.png").write_bytes(b"")
    monkeypatch.setattr(image_arrays, "free_memory_bytes", lambda: 20 * 8 * 8 * 3 - 1)
    with pytest.raises(DataError, match=r"20 images of 8 by 8 pixels take 0.0 GB of memory, and"):
        open_dataset(folder, SMALL).load()


def test_two_copies_need_twice_the_memory(folder, monkeypatch):
    monkeypatch.setattr(image_arrays, "free_memory_bytes", lambda: 20 * 8 * 8 * 3)
    open_dataset(folder, SMALL).load()
    with pytest.raises(DataError, match="held-out ones copied"):
        open_dataset(folder, replace(SMALL, held_out=2)).load()
