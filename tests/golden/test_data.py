"""CIFAR-10 as everybody knows it: the figures that the literature quotes."""

import numpy as np
import pytest

from training.data.cifar10 import LABELS, load_cifar10, stratified_split


@pytest.fixture(scope="module")
def dataset(data_dir):
    return load_cifar10(data_dir)


def test_the_channels_have_the_means_and_deviations_of_the_literature(dataset):
    train, _ = dataset
    pixels = train.images.reshape(-1, 3)
    counts = np.stack([np.bincount(pixels[:, channel], minlength=256) for channel in range(3)])
    values = np.arange(256) / 255
    mean = counts @ values / len(pixels)
    deviation = np.sqrt(counts @ values**2 / len(pixels) - mean**2)
    # Quoted with four digits, red, green, blue: half of the last one is the tolerance.
    np.testing.assert_allclose(mean, [0.4914, 0.4822, 0.4465], rtol=0, atol=5e-5)
    np.testing.assert_allclose(deviation, [0.2470, 0.2435, 0.2616], rtol=0, atol=5e-5)
    with pytest.raises(AssertionError):  # blue and red swapped
        np.testing.assert_allclose(mean[::-1], [0.4914, 0.4822, 0.4465], rtol=0, atol=5e-5)


def test_the_first_images_are_a_frog_and_a_cat(dataset):
    train, test = dataset
    assert [LABELS[label] for label in train.labels[:4]] == ["frog", "truck", "truck", "deer"]
    assert [LABELS[label] for label in test.labels[:4]] == ["cat", "ship", "ship", "airplane"]


def test_the_split_that_selects_is_45000_to_5000(dataset):
    train, _ = dataset
    kept, held_out = stratified_split(train, 5_000, seed=7)
    assert np.bincount(kept.labels).tolist() == [4_500] * 10
    assert np.bincount(held_out.labels).tolist() == [500] * 10
    assert kept.images.mean() != held_out.images.mean()
