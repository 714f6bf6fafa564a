"""The Keras baseline's optimizer, against Keras 2.2's formulas written out."""

from copy import deepcopy
from dataclasses import replace

import numpy as np
import pytest
import torch

from models.networks.air import AirNet
from training.recipes.optimizers import (
    AdamRecipe,
    GroupedRecipe,
    GroupRecipe,
    PlainSgdRecipe,
    RmspropRecipe,
    ScheduleRecipe,
)
from training.trainer.methods.optimizers import (
    OptimizerSet,
    decayed_rate,
    one_rate_optimizer,
    parameter_groups,
    rmsprop,
    schedule_share,
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


def test_the_keras_baselines_decay_is_nearly_inert():
    recipe = RmspropRecipe(learning_rate=1e-3, decay=1e-6)
    assert decayed_rate(50 * 1563, recipe) == pytest.approx(0.9275e-3, rel=1e-4)


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


def one_step(recipe, gradient=(0.5, -2.0)):
    parameter = torch.nn.Parameter(torch.zeros(2, dtype=torch.float64))
    optimizer = one_rate_optimizer([parameter], recipe)
    parameter.grad = torch.tensor(gradient, dtype=torch.float64)
    optimizer.step()
    return parameter.detach().numpy()


def test_adams_first_step_is_the_rate_in_the_direction_of_the_signs():
    np.testing.assert_allclose(one_step(AdamRecipe(1e-3)), [-1e-3, 1e-3], rtol=1e-6)


def test_plain_sgd_moves_by_rate_times_gradient():
    np.testing.assert_allclose(one_step(PlainSgdRecipe(0.1)), [-0.05, 0.2])


def test_a_schedule_rises_over_the_warmup_and_falls_to_its_end():
    schedule = ScheduleRecipe(warmup=0.2, start=0.5, end=0.1)
    shares = [schedule_share(progress, schedule) for progress in (0, 0.1, 0.2, 0.6, 1)]
    assert shares == pytest.approx([0.5, 0.75, 1, 0.55, 0.1])


def test_a_cosine_is_half_way_at_half_the_time():
    schedule = ScheduleRecipe(kind="cosine")
    shares = [schedule_share(progress, schedule) for progress in (0, 0.5, 1)]
    assert shares == pytest.approx([1, 0.5, 0], abs=1e-12)


def test_without_a_schedule_the_rate_stays_but_for_its_decay():
    optimizer = OptimizerSet(air(), RmspropRecipe(1e-3))
    optimizer.set_learning_rates(70, 100)
    assert optimizer.learning_rate == 1e-3


@pytest.mark.parametrize("recipe", [RmspropRecipe(1e-3), AdamRecipe(1e-3), PlainSgdRecipe(1e-3)])
def test_every_optimizer_with_one_rate_follows_its_schedule(recipe):
    optimizer = OptimizerSet(air(), replace(recipe, schedule=ScheduleRecipe()))
    optimizer.set_learning_rates(75, 100)
    assert optimizer.learning_rate == pytest.approx(0.25e-3)


def test_a_rate_that_the_device_holds_is_written_there_in_place():
    network = torch.nn.Linear(2, 1)
    moved = OptimizerSet(network, RECIPE)
    assert not moved.capturable  # on a CPU
    moved.rates = [held := torch.zeros(())]
    moved.set_learning_rates(3, 10)
    assert moved.members[0].param_groups[0]["lr"] is held
    assert moved.learning_rate == pytest.approx(decayed_rate(3, RECIPE))
