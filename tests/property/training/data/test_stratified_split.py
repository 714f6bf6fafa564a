"""Splits by class hold for every size and seed."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from training.data.cifar10 import Split, stratified_split


@settings(derandomize=True, deadline=None, max_examples=50)
@given(st.data(), st.integers(2, 25), st.integers(0, 2**32))
def test_a_split_is_a_partition_with_equal_classes(data, per_class, seed):
    held_out = 10 * data.draw(st.integers(1, per_class - 1))
    labels = np.random.default_rng(seed).permutation(np.arange(10 * per_class) % 10)
    images = np.zeros((len(labels), 32, 32, 3), np.uint8)
    images[:, 0, 0, 0] = np.arange(len(labels))  # at most 250: each carries its number
    kept, chosen = stratified_split(Split(images, labels), held_out, seed)
    assert np.bincount(chosen.labels).tolist() == [held_out // 10] * 10
    assert np.bincount(kept.labels).tolist() == [per_class - held_out // 10] * 10
    numbers = np.concatenate([kept.images, chosen.images])[:, 0, 0, 0]
    assert sorted(numbers.tolist()) == list(range(len(labels)))
    for part in (kept, chosen):
        assert (labels[part.images[:, 0, 0, 0]] == part.labels).all()
        assert (np.diff(part.images[:, 0, 0, 0].astype(int)) > 0).all()  # in the published order
