"""The reference's optimizer and loss, against Keras 2.2's formulas written out."""

import math

import numpy as np
import pytest
import torch
from torch.nn import functional

from training.optimization import cross_entropy, decayed_rate, rmsprop
from training.recipe import RmspropRecipe

RECIPE = RmspropRecipe(learning_rate=1e-3, decay=1e-2, rho=0.9, epsilon=1e-7)
# Small gradients are where the variants of RMSprop differ.
GRADIENTS = np.array([[1.0, 1e-3, 1e-6, 1e-8], [-0.5, 2e-3, -1e-6, 3e-8], [0.1, 0.0, 5e-7, 1e-8]])


def torch_trajectory(optimizer_of):
    parameter = torch.nn.Parameter(torch.zeros(4, dtype=torch.float64))
    optimizer = optimizer_of([parameter])
    for step, gradient in enumerate(GRADIENTS):
        for group in optimizer.param_groups:
            group["lr"] = decayed_rate(step, RECIPE)
        parameter.grad = torch.tensor(gradient)
        optimizer.step()
    return parameter.detach().numpy()


def keras_trajectory(epsilon_inside_the_root=False):
    p, a = np.zeros(4), np.zeros(4)
    for step, g in enumerate(GRADIENTS):
        rate = RECIPE.learning_rate * (1 / (1 + RECIPE.decay * step))
        a = RECIPE.rho * a + (1 - RECIPE.rho) * g**2
        if epsilon_inside_the_root:
            p = p - rate * g / np.sqrt(a + RECIPE.epsilon)
        else:
            p = p - rate * g / (np.sqrt(a) + RECIPE.epsilon)
    return p


def test_three_steps_are_those_of_keras_2():
    ours = torch_trajectory(lambda parameters: rmsprop(parameters, RECIPE))
    np.testing.assert_allclose(ours, keras_trajectory(), rtol=1e-12)


@pytest.mark.parametrize(
    "other",
    [
        pytest.param(lambda: keras_trajectory(epsilon_inside_the_root=True), id="Keras 3"),
        pytest.param(
            lambda: torch_trajectory(lambda p: torch.optim.RMSprop(p, alpha=0.99, eps=1e-7)),
            id="torch's alpha",
        ),
        pytest.param(
            lambda: torch_trajectory(lambda p: torch.optim.RMSprop(p, alpha=0.9, eps=1e-8)),
            id="torch's eps",
        ),
    ],
)
def test_the_other_variants_would_be_noticed(other):
    ours = torch_trajectory(lambda parameters: rmsprop(parameters, RECIPE))
    assert np.abs(other() / ours - 1).max() > 1e-2


def test_the_learning_rate_decays_by_the_step_and_not_by_the_epoch():
    assert decayed_rate(0, RECIPE) == 1e-3
    assert decayed_rate(100, RECIPE) == pytest.approx(1e-3 / 2)


def test_the_reference_decay_is_nearly_inert():
    recipe = RmspropRecipe(learning_rate=1e-3, decay=1e-6)
    assert decayed_rate(50 * 1563, recipe) == pytest.approx(0.9275e-3, rel=1e-4)


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
