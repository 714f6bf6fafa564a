"""The Keras baseline's loss, against Keras 2.2's formula written out."""

import math

import numpy as np
import pytest
import torch
from torch.nn import functional

from training.recipes.recipe import load_recipe
from training.trainer.methods.losses import cross_entropy, training_loss


def test_inside_the_clip_the_loss_is_plain_cross_entropy():
    logits = torch.randn(20, 10, generator=torch.Generator().manual_seed(0))
    labels = torch.arange(20) % 10
    assert cross_entropy(logits, labels, 1e-7) == functional.cross_entropy(logits, labels)


def test_beyond_the_clip_the_loss_is_constant_and_has_no_gradient():
    logits = torch.tensor([[40.0, 0.0]], requires_grad=True)
    loss = cross_entropy(logits, torch.tensor([1]), 1e-7)
    loss.backward()
    assert loss.item() == pytest.approx(-math.log(1e-7), rel=1e-6)
    assert logits.grad.tolist() == [[0.0, 0.0]]
    unclipped = cross_entropy(logits, torch.tensor([1]), 0.0)
    assert unclipped.item() == pytest.approx(40.0)


def keras_loss(logits, labels, clip):
    """Keras' `categorical_crossentropy` on a softmax, in float64."""
    odds = np.exp(logits - logits.max(axis=1, keepdims=True))
    probabilities = odds / odds.sum(axis=1, keepdims=True)
    clipped = np.clip(probabilities[np.arange(len(labels)), labels], clip, 1 - clip)
    return -np.log(clipped).mean()


def test_the_loss_is_that_of_keras_for_any_confidence():
    generator = np.random.default_rng(0)
    logits = generator.normal(size=(200, 10)) * 20  # many beyond the clip on either side
    labels = generator.integers(0, 10, 200)
    ours = cross_entropy(torch.tensor(logits), torch.tensor(labels), 1e-7).item()
    assert ours == pytest.approx(keras_loss(logits, labels, 1e-7), rel=1e-12)
    assert ours != pytest.approx(keras_loss(logits, labels, 1e-30), rel=1e-2)


def test_a_sample_that_is_right_beyond_doubt_has_no_gradient_either():
    logits = torch.tensor([[40.0, 0.0]], dtype=torch.float64, requires_grad=True)
    loss = cross_entropy(logits, torch.tensor([0]), 1e-7)
    loss.backward()
    assert loss.item() == pytest.approx(1e-7, rel=1e-6)
    assert logits.grad.tolist() == [[0.0, 0.0]]


def test_a_clipped_sample_takes_nothing_from_its_neighbours():
    logits = torch.tensor([[40.0, 0.0], [0.5, 0.0]], requires_grad=True)
    cross_entropy(logits, torch.tensor([1, 1]), 1e-7).backward()
    alone = torch.tensor([[0.5, 0.0]], requires_grad=True)
    cross_entropy(alone, torch.tensor([1]), 1e-7).backward()
    assert logits.grad[0].tolist() == [0.0, 0.0]
    torch.testing.assert_close(logits.grad[1], alone.grad[0] / 2)  # the mean counts both


def test_label_smoothing_is_torchs_and_the_clip_is_keras():
    logits, labels = torch.randn(4, 10), torch.tensor([1, 2, 3, 4])
    smooth, clipped = load_recipe("air94"), load_recipe("keras-bn")
    expected = functional.cross_entropy(logits, labels, label_smoothing=0.2)
    assert torch.equal(training_loss(logits, labels, smooth), expected)
    assert torch.equal(training_loss(logits, labels, clipped), cross_entropy(logits, labels, 1e-7))
    assert training_loss(logits, labels, clipped) != expected
