"""What is accepted as rounding."""

from dataclasses import replace

import numpy as np

from training.folding.proof.tolerances import FourLogits, label_changes


def test_a_label_change_between_classes_closer_than_rounding_is_explained():
    unfolded = np.array([[1.0, 1.0 + 1e-6, 0.0]], np.float32)
    folded = np.array([[1.0 + 1e-6, 1.0, 0.0]], np.float32)
    assert label_changes(unfolded, folded, allowance=1e-5) == (1, 0)


def test_a_label_change_across_a_wider_margin_is_not_explained():
    unfolded = np.array([[1.0, 1.5, 0.0], [2.0, 0.0, 0.0]], np.float32)
    folded = np.array([[1.4, 1.3, 0.0], [2.0, 0.0, 0.0]], np.float32)
    assert label_changes(unfolded, folded, allowance=1e-5) == (1, 1)


def test_logits_that_are_all_zero_agree():
    zeros = np.zeros((3, 10))
    silent = FourLogits(zeros, zeros, zeros.astype(np.float32), zeros.astype(np.float32))
    assert silent.error_ratio() == 0
    loud = replace(silent, folded=silent.folded + np.float32(1))
    assert np.isinf(loud.error_ratio())
