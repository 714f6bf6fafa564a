"""Which images are trained on, and in which batches."""

import numpy as np
import pytest
import torch

from training.data.cifar10 import Split
from training.data.device_split import RunData
from training.data.selection import epoch_batches, select
from training.errors import DataError
from training.recipes.recipe import DataRecipe


def split(count=200):
    images = np.zeros((count, 32, 32, 3), dtype=np.uint8)
    images[:, 0, 0, 0] = np.arange(count) % 256  # an image's number
    return Split(images, np.arange(count, dtype=np.int64) % 10)


def numbers(part):
    return {int(image[0, 0, 0]) for image in part.images}


def test_all_images_are_trained_on_by_default():
    train, held_out = select(split(), DataRecipe())
    assert len(train) == 200
    assert held_out is None


def test_held_out_images_are_never_trained_on():
    train, held_out = select(split(), DataRecipe(held_out=50))
    assert (len(train), len(held_out)) == (150, 50)
    assert not numbers(train) & numbers(held_out)


def test_a_number_of_images_has_as_many_of_each_class_and_none_held_out():
    train, held_out = select(split(), DataRecipe(images=40, held_out=50))
    assert np.bincount(train.labels).tolist() == [4] * 10
    assert not numbers(train) & numbers(held_out)


def test_more_images_than_there_are_is_an_error_that_names_the_most():
    with pytest.raises(DataError, match="cannot hold out 400 images: take a multiple of 10"):
        select(split(), DataRecipe(images=400))


def test_the_test_set_can_be_cut_for_a_try():
    data = RunData.place((split(), split()), DataRecipe(test_images=30), torch.device("cpu"))
    assert len(data.test.labels) == 30
    assert data.held_out is None


def batches(order, size=32):
    labels = torch.arange(200) % 10
    return labels, epoch_batches(labels, size, order, torch.Generator().manual_seed(0))


@pytest.mark.parametrize("order", ["shuffled", "by-class"])
def test_every_image_comes_once_an_epoch(order):
    _, made = batches(order)
    assert torch.cat(made).sort().values.tolist() == list(range(200))


def test_batches_by_class_hold_one_class_and_come_in_random_order():
    labels, made = batches("by-class", 8)
    classes = [labels[indices].unique().tolist() for indices in made]
    assert {len(found) for found in classes} == {1}
    order = [found[0] for found in classes]
    assert order != sorted(order)
    assert [len(indices) for indices in made].count(4) == 10  # 20 of a class: 8, 8, 4


def test_shuffled_batches_hold_many_classes():
    labels, made = batches("shuffled")
    assert all(len(labels[indices].unique()) > 1 for indices in made)
