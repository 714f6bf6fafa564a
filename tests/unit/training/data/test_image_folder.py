"""A folder of one's own images: its classes, its split, and what is refused in one line."""

import os
import re
import shutil

import pytest

from tests.own_images import write_folder, write_image
from training.data.image_folder import list_images
from training.errors import DataError
from training.recipes.recipe import DataRecipe


@pytest.fixture
def folder(tmp_path):
    return write_folder(tmp_path / "pets", each=10)


def names(files):
    return [(file.path.parent.name, file.path.name) for file in files]


def test_the_folders_are_the_classes_and_the_same_share_of_each_is_tested_on(folder):
    found = list_images(folder, DataRecipe(test_share=0.3))
    assert found.labels == ("cat", "dog")
    assert found.split == "drawn"
    assert sorted(file.label for file in found.test) == [0, 0, 0, 1, 1, 1]
    assert len(found.train) == 14
    assert set(names(found.train)) & set(names(found.test)) == set()
    assert {file.path.parent.name for file in found.test if file.label == 1} == {"dog"}


def test_the_seed_alone_decides_which_images_are_tested_on(folder):
    first, again, other = (list_images(folder, DataRecipe(test_seed=n)) for n in (1, 1, 2))
    assert first == again
    assert set(names(first.test)) != set(names(other.test))


def test_the_first_images_are_of_all_classes(folder):
    found = list_images(folder, DataRecipe())
    assert {file.label for file in found.train[:6]} == {0, 1}


@pytest.mark.parametrize("name", ["test", "val", "validation"])
def test_a_split_that_is_given_is_taken(tmp_path, name):
    write_folder(tmp_path / "train", each=4)
    write_folder(tmp_path / name, each=2)
    found = list_images(tmp_path, DataRecipe())
    assert (found.split, len(found.train), len(found.test)) == ("given", 8, 4)
    assert {file.path.parents[1].name for file in found.test} == {name}


def test_hidden_things_and_files_beside_the_classes_are_counted(folder):
    (folder / ".git").mkdir()
    (folder / "README.txt").write_text("pets")
    (folder / "cat" / ".DS_Store").write_text("")
    (folder / "cat" / "Thumbs.db").write_text("")
    found = list_images(folder, DataRecipe())
    assert found.ignored == 4
    assert len(found.train) + len(found.test) == 20


def test_links_to_files_and_to_folders_are_followed(folder, tmp_path):
    shutil.move(folder / "cat", tmp_path / "elsewhere")
    (folder / "cat").symlink_to(tmp_path / "elsewhere")
    (folder / "dog" / "linked.png").symlink_to(folder / "dog" / "0.png")
    found = list_images(folder, DataRecipe())
    assert len(found.train) + len(found.test) == 21


def test_a_thousand_classes_are_listed(tmp_path):
    for number in range(1_000):
        (tmp_path / f"{number:04}").mkdir()
        for index in range(2):
            (tmp_path / f"{number:04}" / f"{index}.png").touch()
    found = list_images(tmp_path, DataRecipe())
    assert (len(found.labels), len(found.train), len(found.test)) == (1_000, 1_000, 1_000)


def one_image(folder):
    write_image(folder / "eel" / "0.png")


def empty(folder):
    (folder / "eel").mkdir()


def only_hidden(folder):
    (folder / "eel").mkdir()
    (folder / "eel" / ".DS_Store").touch()


def case_alone(folder):
    write_image(folder / "Cat" / "0.png")


def spelling_alone(folder):
    for name in ("caf\u00e9", "cafe\u0301"):
        write_image(folder / name / "0.png")


def one_class(folder):
    shutil.rmtree(folder / "cat")


def nested(folder):
    (folder / "cat" / "old").mkdir()


def dangling(folder):
    (folder / "cat" / "link.png").symlink_to("nowhere.png")


def linked_twice(folder):
    (folder / "hound").symlink_to("dog")


def train_alone(folder):
    one_class(folder)
    (folder / "dog").rename(folder / "train")


def split_and_classes(folder):
    write_folder(folder / "train")
    write_folder(folder / "val")


def unprintable(folder):
    write_image(folder / "a\nb" / "0.png")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (one_image, "the class 'eel' in PETS has one image, and needs one to train on and one to"),
        (empty, "the class folder PETS/eel holds no images; add some, or remove it"),
        (only_hidden, "PETS/eel holds no images (1 hidden ones are ignored)"),
        (case_alone, "the classes 'Cat' and 'cat' in PETS differ in case or spelling alone"),
        (spelling_alone, "differ in case or spelling alone; rename one, or merge them"),
        (one_class, "PETS holds one class, 'dog', and at least 2 classes are needed"),
        (nested, "the class folder PETS/cat holds the folder 'old'; images stand right in"),
        (dangling, "PETS/cat/link.png is a link that leads nowhere; remove it, or mend it"),
        (linked_twice, "the classes 'dog' and 'hound' in PETS are one folder, by a link"),
        (train_alone, "PETS has train/ and no test/ or val/; name PETS/train to have a test"),
        (split_and_classes, "PETS has train/, val/ and also 'cat', 'dog'; it must hold"),
        (unprintable, r"the class folder 'a\nb' in PETS is no name that can be printed"),
    ],
)
def test_a_folder_that_is_not_sound_is_refused_in_one_line(folder, change, message):
    change(folder)
    with pytest.raises(DataError, match=re.escape(message.replace("PETS", str(folder)))) as refused:
        list_images(folder, DataRecipe())
    assert "\n" not in str(refused.value)


def test_both_sides_of_a_given_split_need_the_same_classes(tmp_path):
    write_folder(tmp_path / "train", ("cat", "dog", "eel"))
    write_folder(tmp_path / "test", ("cat", "dog"))
    with pytest.raises(DataError, match="'eel' is a class in train/ and not in test/"):
        list_images(tmp_path, DataRecipe())


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads every folder")
def test_a_folder_that_cannot_be_read_is_named(folder):
    (folder / "cat").chmod(0)
    with pytest.raises(DataError, match=r"cannot read the folder .*cat \(Permission denied\)"):
        list_images(folder, DataRecipe())
    (folder / "cat").chmod(0o700)
