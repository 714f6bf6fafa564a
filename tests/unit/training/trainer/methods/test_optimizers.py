"""The reference's optimizer and loss, against Keras 2.2's formulas written out."""

import math
from copy import deepcopy

import numpy as np
import pytest
import torch
from torch.nn import functional

from models.networks.air import AirNet
from training.recipes.recipe import GroupedRecipe, GroupRecipe, RmspropRecipe, load_recipe
from training.trainer.methods.optimizers import (
    OptimizerSet,
    cross_entropy,
    decayed_rate,
    parameter_groups,
    rmsprop,
    training_loss,
    triangular_share,
)

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


def grouped(**changes):
    defaults = {
        "kind": "muon",
        "momentum": 0.85,
        "filters": GroupRecipe(0.2),
        "biases": GroupRecipe(3.0, weight_decay=1e-3),
        "head": GroupRecipe(0.4),
        "whitening_bias": GroupRecipe(0.5, until=0.25),
    }
    return GroupedRecipe(**{**defaults, **changes})


def air():
    return AirNet(widths=(8, 8, 8))


def test_every_trained_parameter_is_in_exactly_one_group():
    net = air()
    groups = parameter_groups(net, grouped())
    assert {name: len(group["params"]) for name, group in groups.items()} == {
        "filters": 6,
        "whitening_bias": 1,
        "biases": 6,
        "head": 1,
    }
    grouped_ids = [id(p) for group in groups.values() for p in group["params"]]
    assert sorted(grouped_ids) == sorted(id(p) for p in net.parameters() if p.requires_grad)
    assert groups["filters"]["params"][0] is net.group1.conv1.weight
    assert groups["biases"]["params"][0] is net.group1.bn1.bias


@pytest.mark.parametrize(("kind", "classes"), [("muon", ["Muon", "SGD"]), ("sgd", ["SGD"])])
def test_muon_moves_the_filters_and_sgd_the_rest(kind, classes):
    optimizer = OptimizerSet(air(), grouped(kind=kind))
    assert [type(member).__name__ for member in optimizer.members] == classes
    optimizer.set_learning_rates(0, 100)
    assert optimizer.learning_rate == 0.2  # that of the filters


def test_the_schedule_is_a_triangle_between_start_and_end():
    recipe = grouped(warmup=0.2, start=0.1, end=0.05)
    shares = [triangular_share(progress, recipe) for progress in (0, 0.1, 0.2, 0.6, 1.0)]
    assert shares == pytest.approx([0.1, 0.55, 1.0, 0.525, 0.05])


def test_a_group_that_ends_early_stands_still_from_then_on():
    optimizer = OptimizerSet(air(), grouped(end=0.5))
    groups = [group for member in optimizer.members for group in member.param_groups]
    early = next(group for group in groups if group["until"] == 0.25)
    rates = []
    for step in (0, 25, 50, 75, 99):
        optimizer.set_learning_rates(step, 200)
        rates.append(early["lr"])
    assert rates == pytest.approx([0.5, 0.25, 0, 0, 0])
    assert optimizer.learning_rate > 0.1  # the others fall to a half of the peak only


def test_the_state_of_all_members_survives_a_checkpoint():
    def trained(optimizer, net, steps):
        for step in range(steps):
            optimizer.set_learning_rates(step, 4)
            optimizer.zero_grad()
            net(torch.ones(2, 3, 32, 32) * (step + 1) / 8)[:, 0].sum().backward()
            optimizer.step()

    torch.manual_seed(0)
    net = air().eval()
    optimizer = OptimizerSet(net, grouped())
    trained(optimizer, net, 2)
    copy = air().eval()
    copy.load_state_dict(net.state_dict())
    restored = OptimizerSet(copy, grouped())
    restored.load_state_dict(deepcopy(optimizer.state_dict()))  # a file shares no tensors
    forgetful = air().eval()
    forgetful.load_state_dict(net.state_dict())
    for each, state in (
        (net, optimizer),
        (copy, restored),
        (forgetful, OptimizerSet(forgetful, grouped())),
    ):
        trained(state, each, 2)
    assert torch.equal(net.group2.conv2.weight, copy.group2.conv2.weight)
    assert torch.equal(net.head.weight, copy.head.weight)
    assert not torch.equal(net.head.weight, forgetful.head.weight)


def test_label_smoothing_is_torchs_and_the_clip_is_keras():
    logits, labels = torch.randn(4, 10), torch.tensor([1, 2, 3, 4])
    smooth, clipped = load_recipe("air94"), load_recipe("keras-bn")
    expected = functional.cross_entropy(logits, labels, label_smoothing=0.2)
    assert torch.equal(training_loss(logits, labels, smooth), expected)
    assert torch.equal(training_loss(logits, labels, clipped), cross_entropy(logits, labels, 1e-7))
    assert training_loss(logits, labels, clipped) != expected
