"""Reading CIFAR-10: only what is published, and never code."""

import hashlib
import os
import pickle
from pathlib import Path

import numpy as np
import pytest

from training.data import cifar10
from training.data.cifar10 import Split, find_folder, load_cifar10, read_verified, stratified_split
from training.errors import DataError

SAMPLE = Path(__file__).parents[3] / "fixtures" / "cifar10-test-100.npz"


def test_a_missing_dataset_names_the_folder_and_the_command(tmp_path):
    with pytest.raises(DataError, match=rf"no cifar-10-batches-py/ in {tmp_path}.*foldnorm fetch"):
        find_folder(tmp_path)


@pytest.fixture
def published(tmp_path, monkeypatch):
    """A folder whose test file counts as published."""
    folder = tmp_path / "cifar-10-batches-py"
    folder.mkdir()

    def publish(content, name="test_batch"):
        (folder / name).write_bytes(content)
        checksums = {**cifar10.PUBLISHED_MD5, name: hashlib.md5(content).hexdigest()}
        monkeypatch.setattr(cifar10, "PUBLISHED_MD5", checksums)
        return folder / name

    return publish


def test_a_changed_or_truncated_file_is_refused_with_both_checksums(published):
    path = published(b"what was published")
    path.write_bytes(b"what was publ")
    with pytest.raises(
        DataError, match=r"test_batch \(13 bytes\) has MD5 \w+, .* has \w+; delete it"
    ):
        read_verified(path)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(DataError, match=r"cannot read .*data_batch_3"):
        read_verified(tmp_path / "data_batch_3")


class RunsCode:
    """A pickle of this creates a file when it is loaded."""

    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return os.mkdir, (str(self.marker),)


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_code_in_a_batch_is_not_run(published, tmp_path, protocol):
    marker = tmp_path / "was run"
    harmful = pickle.dumps({b"data": RunsCode(marker)}, protocol=protocol)
    path = published(harmful)
    with pytest.raises(DataError, match="which no CIFAR-10 file needs"):
        cifar10.load_test_split(path.parent)
    assert not marker.exists()
    pickle.loads(harmful)  # the same bytes do run where nothing forbids it
    assert marker.exists()


@pytest.mark.parametrize("content", [b"", b"no pickle", pickle.dumps([1, 2])])
def test_a_file_of_another_form_is_refused(published, content):
    with pytest.raises(DataError, match="test_batch"):
        cifar10.load_test_split(published(content).parent)


def test_planes_become_rgb_pixels(published):
    planes = np.zeros((10_000, 3072), np.uint8)
    planes[0, :1024] = 1  # red
    planes[0, 1024:2048] = 2
    planes[0, 2048 + 33] = 3  # blue of row 1, column 1
    batch = {b"data": planes, b"labels": list(range(10)) * 1000}
    content = pickle.dumps(batch, protocol=2).replace(b"numpy._core", b"numpy.core")
    assert b"numpy.core.multiarray" in content  # where numpy 1 stood, and the published files look
    split = cifar10.load_test_split(published(content).parent)
    assert split.images[0, 1, 1].tolist() == [1, 2, 3]
    assert split.images[0, 0, 0].tolist() == [1, 2, 0]
    assert len(split) == 10_000
    assert (np.int64, 9) == (split.labels.dtype, split.labels[9])


def test_the_published_dataset_is_read_whole(data_dir):
    train, test = load_cifar10(data_dir)
    assert train.images.shape == (50_000, 32, 32, 3)
    assert np.bincount(train.labels).tolist() == [5_000] * 10
    assert np.bincount(test.labels).tolist() == [1_000] * 10
    with np.load(SAMPLE) as sample:
        assert (test.images[sample["indices"]] == sample["images"]).all()
        assert (test.labels[sample["indices"]] == sample["labels"]).all()


def numbered(per_class=20):
    """Images that carry their own number, in ten classes."""
    count = 10 * per_class
    images = np.zeros((count, 32, 32, 3), np.uint8)
    images[:, 0, 0, 0] = np.arange(count)
    return Split(images, np.arange(count) % 10)


def numbers(split):
    return split.images[:, 0, 0, 0].tolist()


def test_the_seed_alone_decides_the_split():
    first = numbers(stratified_split(numbered(), 50, seed=1)[1])
    assert first == numbers(stratified_split(numbered(), 50, seed=1)[1])
    assert first != numbers(stratified_split(numbered(), 50, seed=2)[1])


@pytest.mark.parametrize("held_out", [0, 7, -10, 200, 210])
def test_a_split_that_cannot_be_is_refused(held_out):
    with pytest.raises(DataError, match=rf"cannot hold out {held_out} images.*from 10 to 190"):
        stratified_split(numbered(), held_out, seed=1)
