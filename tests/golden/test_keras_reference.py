"""Our networks, optimizer, losses and batch norms against arrays that Keras 3 itself computed.

`benchmarks/keras_reference.py` made them, with the versions in `keras-reference.json`. In float64
the two differ by roundings alone, for three whole training steps. What Keras 3 does otherwise than
Keras 2.2, which ours follows, is undone by its exact formula:

    running variance   Keras 3 averages the variance of the batch, ours (and torch) that of the
                       population, n / (n - 1) as large; Keras 2.2 takes n / (n - 1.001)
    RMSprop            Keras 3 divides by sqrt(a + epsilon), ours by sqrt(a) + epsilon
"""

import dataclasses
import json
import math

import numpy as np
import pytest
import torch

from benchmarks import keras_inputs as inputs
from models.networks import build_network
from training.data.augmentation import shift_and_flip
from training.recipes.optimizers import (
    RmspropRecipe,
)
from training.recipes.recipe import (
    load_recipe,
)
from training.trainer.methods.losses import cross_entropy
from training.trainer.methods.optimizers import OptimizerSet, decayed_rate, rmsprop

RECIPES = {"baseline": load_recipe("keras-baseline"), "twin": load_recipe("keras-bn")}
# Up to 2,304 products a number and six layers, relative to the largest: 48 roundings if they fall
# at random (3e-6 and 5e-15), and a batch norm multiplies what a channel of small variance has lost
# by up to 30. Measured: 2.4e-6 and 4e-14 in outputs, 6e-13 in what three steps moved.
ROUNDING = {"float32": 1e-5, "float64": 1e-11}
ULP = {"float32": 2.0**-23, "float64": 2.0**-52}

PARTS = {"weight": "kernel", "bias": "bias"}
NORM_PARTS = {
    "weight": "gamma",
    "bias": "beta",
    "running_mean": "moving_mean",
    "running_var": "moving_variance",
}
PIXELS = {"conv1": 32 * 32, "conv2": 30 * 30, "conv3": 15 * 15, "conv4": 13 * 13}

networks = pytest.mark.parametrize("name", ["baseline", "twin"])
dtypes = pytest.mark.parametrize("dtype", ["float64", "float32"])


@pytest.fixture(scope="module")
def keras():
    with np.load(inputs.ARRAYS) as arrays:
        return dict(arrays)


def keras_name(name):
    """Return `conv1.kernel` for `conv1.weight`."""
    layer, part = name.split(".")
    return f"{layer}.{(NORM_PARTS if layer.endswith('_bn') else PARTS)[part]}"


def from_keras(name, values, flattened="HWC"):
    """Return a variable in torch's layout: its kernels are (out, in, …)."""
    if name == "dense1.kernel" and flattened == "HWC":
        values = values.reshape(6, 6, 64, 512).transpose(2, 0, 1, 3).reshape(2304, 512)
    if values.ndim == 4:
        return values.transpose(3, 2, 0, 1)
    return values.T


def to_keras(name, tensor):
    """Return a copy of one of our tensors in Keras' layout."""
    values = tensor.detach().numpy()
    values = values.transpose(2, 3, 1, 0) if values.ndim == 4 else values.T
    if name == "dense1.kernel":
        values = values.reshape(64, 6, 6, 512).transpose(1, 2, 0, 3).reshape(2304, 512)
    return values.copy()


def ours(name, dtype, flattened="HWC"):
    """Return our network with the weights that Keras had, in training mode."""
    weights = inputs.draw_weights(batch_norm=name == "twin")
    network = build_network("keras_cnn", {"batch_norm": name == "twin", "dropout": False})
    for key, tensor in network.state_dict().items():
        if not key.endswith("num_batches_tracked"):
            values = from_keras(keras_name(key), weights.pop(keras_name(key)), flattened)
            tensor.copy_(torch.tensor(values))
    assert not weights
    return network.to(getattr(torch, dtype)).train()


def batches(dtype):
    """Yield images (16, 3, 32, 32) and labels (16,), the three that Keras had."""
    for images, labels in inputs.batches(dtype):
        yield torch.tensor(images).permute(0, 3, 1, 2).contiguous(), torch.tensor(labels)


def parameters_as_keras(network):
    return {keras_name(key): to_keras(keras_name(key), p) for key, p in network.named_parameters()}


def gradients_as_keras(network):
    parameters = network.named_parameters()
    return {keras_name(key): to_keras(keras_name(key), p.grad) for key, p in parameters}


def error(found, expected):
    """Return the largest difference relative to the largest number."""
    found, expected = np.asarray(found), np.asarray(expected)
    return np.abs(found - expected).max() / np.abs(expected).max()


def test_the_versions_and_keras_defaults_are_on_record():
    record = json.loads(inputs.PROVENANCE.read_text(encoding="utf-8"))
    assert {"keras", "torch", "numpy", "scipy", "python"} == set(record["versions"])
    assert record["defaults"]["batch_norm"] == {"momentum": 0.99, "epsilon": 1e-3}
    for recipe in RECIPES.values():
        optimizer = recipe.optimizer
        stated = {"rho": optimizer.rho, "epsilon": optimizer.epsilon}
        assert stated == record["defaults"]["rmsprop"]
        assert recipe.probability_clip == record["defaults"]["loss_clip"]


@dtypes
@networks
def test_the_weights_are_those_that_keras_had(keras, name, dtype):
    drawn = inputs.draw_weights(batch_norm=name == "twin")
    # The sums are float64 on both sides, of up to 1.2 million terms.
    np.testing.assert_allclose(
        inputs.sums(drawn), keras[f"{dtype}/{name}/drawn_sums"], rtol=1e-10, atol=1e-10
    )


@dtypes
@networks
def test_inference_gives_keras_logits_and_loss(keras, name, dtype):
    network, (images, labels) = ours(name, dtype).eval(), next(batches(dtype))
    with torch.no_grad():
        logits = network(images)
        loss = cross_entropy(logits, labels, RECIPES[name].probability_clip)
    expected = keras[f"{dtype}/{name}/logits"]
    assert error(logits, expected) < ROUNDING[dtype]
    assert error(loss, keras[f"{dtype}/{name}/loss"]) < ROUNDING[dtype]
    with torch.no_grad():
        unpermuted = ours(name, dtype, flattened="CHW").eval()(images)
        assert error(unpermuted, expected) > 0.1
        for norm in (layer for layer in network if hasattr(layer, "running_var")):
            norm.eps = 1e-5  # torch's
        assert name == "baseline" or error(network(images), expected) > 1e-3


@dtypes
def test_training_mode_gives_keras_logits(keras, dtype):
    network, (images, _) = ours("twin", dtype), next(batches(dtype))
    expected = keras[f"{dtype}/twin/training_logits"]
    with torch.no_grad():
        assert error(network(images), expected) < ROUNDING[dtype]
        assert error(network.eval()(images), expected) > 0.1


@dtypes
def test_the_running_statistics_are_keras_but_for_bessels_correction(keras, dtype):
    """All 714 channels after each of three batches, by weights that stand still."""
    network = ours("twin", dtype)
    norms = {key: network.get_submodule(f"{key}_bn") for key in inputs.KERNELS}
    start = torch.cat([norm.running_var for norm in norms.values()]).double().numpy()
    count = np.concatenate(  # the numbers that a channel's variance is taken over
        [
            np.full(norm.num_features, inputs.BATCH_SIZE * PIXELS.get(key, 1.0))
            for key, norm in norms.items()
        ]
    )
    for step, (images, _) in enumerate(batches(dtype)):
        with torch.no_grad():
            network(images)
        mean = torch.cat([norm.running_mean for norm in norms.values()]).numpy()
        variance = torch.cat([norm.running_var for norm in norms.values()]).numpy()
        # Statistics are of size one. Keras takes a variance as E[x^2] - E[x]^2.
        tolerance = 8 * ULP[dtype]
        expected = keras[f"{dtype}/twin/moving_mean"][step]
        np.testing.assert_allclose(mean, expected, rtol=0, atol=tolerance)
        biased = keras[f"{dtype}/twin/moving_variance"][step].astype(np.float64)
        kept = 0.99 ** (step + 1) * start  # what is left of the first variance
        expected = kept + (biased - kept) * count / (count - 1)
        np.testing.assert_allclose(variance, expected, rtol=0, atol=tolerance)
        assert np.abs(variance - biased).max() > 100 * tolerance  # the correction left out


@networks
def test_three_training_steps_are_keras_but_for_where_epsilon_is(keras, name):
    """Losses, gradients and weights by our network, loss, rates and RMSprop, in float64."""
    network = ours(name, "float64")
    recipe = dataclasses.replace(RECIPES[name].optimizer, decay=inputs.DECAY)
    assert recipe.learning_rate == inputs.LEARNING_RATES[name]
    optimizers = OptimizerSet(network, dataclasses.replace(recipe, epsilon=0.0))
    drawn = parameters_as_keras(network)
    # A bias before a batch norm has no gradient but rounding, here of up to 1e-14.
    moves = np.array([name == "baseline" or not key.endswith(".bias") for key in sorted(drawn)])
    expected = {key: keras[f"float64/{name}/{key}"] for key in KEPT_OF_A_STEP}
    for step, (images, labels) in enumerate(batches("float64")):
        optimizers.zero_grad()
        optimizers.set_learning_rates(step, inputs.STEPS)
        loss = cross_entropy(network(images), labels, RECIPES[name].probability_clip)
        loss.backward()
        gradients = gradients_as_keras(network)
        step_with_epsilon_inside_the_root(optimizers.members[0], recipe)
        weights = parameters_as_keras(network)
        moved = {key: weights[key] - drawn[key] for key in weights}

        assert error(loss.detach(), expected["losses"][step]) < ROUNDING["float64"]
        assert error(inputs.probes(gradients), expected["gradients"][step]) < ROUNDING["float64"]
        difference = np.abs(inputs.probes(weights) - expected["weights"][step]).max()
        assert difference < ROUNDING["float64"] * 10 * recipe.learning_rate
        for key, values in (("gradient_sums", gradients), ("moved_sums", moved)):
            norms = expected[key][step][moves][:, 1:]
            found = inputs.sums(values)[moves] / norms
            assert np.abs(found - expected[key][step][moves] / norms).max() < ROUNDING["float64"]
            assert (inputs.sums(values)[~moves] < 1e-12).all()


KEPT_OF_A_STEP = ("losses", "gradients", "weights", "gradient_sums", "moved_sums")


def step_with_epsilon_inside_the_root(optimizer, recipe):
    """Let an RMSprop of no epsilon step as Keras 3's.

    Before the step each mean square a is enlarged by epsilon / rho, of which the step keeps
    epsilon: it divides by sqrt(rho a + (1 - rho) g^2 + epsilon).
    """
    for parameter in optimizer.param_groups[0]["params"]:
        if parameter not in optimizer.state:
            square = torch.zeros_like(parameter)
            optimizer.state[parameter] = {"step": torch.tensor(0.0), "square_avg": square}
    for state in optimizer.state.values():
        state["square_avg"].add_(recipe.epsilon / recipe.rho)
    optimizer.step()
    for state in optimizer.state.values():
        state["square_avg"].sub_(recipe.epsilon)


def trajectory(gradients, start, recipe, step_of):
    """Return the weights (3, W) after each of the steps along Keras' own gradients (3, W)."""
    parameter = torch.nn.Parameter(torch.tensor(start))
    optimizer = rmsprop([parameter], recipe)
    found = []
    for step, gradient in enumerate(gradients):
        optimizer.param_groups[0]["lr"] = decayed_rate(step, recipe)
        parameter.grad = torch.tensor(gradient)
        step_of(optimizer)
        found.append(parameter.detach().numpy().copy())
    return np.stack(found)


@dtypes
@networks
def test_one_rmsprop_step_relates_to_keras_3s_by_the_place_of_epsilon(keras, name, dtype):
    recipe = RECIPES[name].optimizer
    gradient = keras[f"{dtype}/{name}/gradients"][0]
    start = start_of(name, dtype)
    by_keras = keras[f"{dtype}/{name}/weights"][0].astype(np.float64) - start
    by_ours = trajectory(gradient[None], start, recipe, lambda o: o.step())[0] - start
    mean_square = (1 - recipe.rho) * gradient.astype(np.float64) ** 2
    inside = np.sqrt(mean_square + recipe.epsilon)
    outside = np.sqrt(mean_square) + recipe.epsilon
    # Weights are at most 1.7, and what a step moved has their roundings.
    tolerance = 4 * ULP[dtype]
    np.testing.assert_allclose(by_ours * outside / inside, by_keras, rtol=0, atol=tolerance)
    assert np.abs(by_ours - by_keras).max() > 100 * tolerance
    keras_2 = -recipe.learning_rate * gradient.astype(np.float64) / outside
    np.testing.assert_allclose(by_ours, keras_2, rtol=0, atol=tolerance)


@dtypes
@networks
def test_with_epsilon_moved_our_rmsprop_makes_keras_3s_steps(keras, name, dtype):
    recipe = dataclasses.replace(RECIPES[name].optimizer, decay=inputs.DECAY)
    gradients, expected = (keras[f"{dtype}/{name}/{key}"] for key in ("gradients", "weights"))
    start = start_of(name, dtype)

    def along(recipe):
        """Return our steps by that recipe, its epsilon inside the root."""
        no_epsilon = dataclasses.replace(recipe, epsilon=0.0)
        return trajectory(
            gradients, start, no_epsilon, lambda o: step_with_epsilon_inside_the_root(o, recipe)
        )

    tolerance = 4 * ULP[dtype]
    np.testing.assert_allclose(along(recipe), expected, rtol=0, atol=tolerance)
    for other in ({"rho": 0.99}, {"decay": 0.0}, {"epsilon": 1e-8}):
        wrong = along(dataclasses.replace(recipe, **other))
        assert np.abs(wrong - expected).max() > 10 * tolerance


def start_of(name, dtype):
    """Return the probed weights before the first step, in the order of the arrays."""
    statistics = (".moving_mean", ".moving_variance")
    drawn = inputs.draw_weights(batch_norm=name == "twin")
    learnt = {key: values for key, values in drawn.items() if not key.endswith(statistics)}
    return inputs.probes(learnt).astype(dtype)


@dtypes
def test_losses_and_gradients_are_keras_within_and_beyond_the_clip(keras, dtype):
    logits = torch.tensor(inputs.CLIP_LOGITS, dtype=getattr(torch, dtype), requires_grad=True)
    rows = zip(logits.split(1), torch.tensor(inputs.CLIP_LABELS).split(1), strict=True)
    losses = torch.stack([cross_entropy(*row, probability_clip=1e-7) for row in rows])
    losses.sum().backward()
    expected, gradient = (keras[f"{dtype}/clip/{key}"] for key in ("loss", "gradient"))
    # Keras rounds the probability before its logarithm, ours not: one rounding of 1 in each loss.
    np.testing.assert_allclose(losses.detach(), expected, rtol=4 * ULP[dtype], atol=ULP[dtype])
    np.testing.assert_allclose(logits.grad, gradient, rtol=0, atol=4 * ULP[dtype])
    beyond = [False, False, True, False, True]
    assert beyond == (logits.grad == 0).all(dim=1).tolist()
    unclipped = torch.nn.functional.cross_entropy(logits[2:3], torch.tensor([1]))
    assert unclipped - expected[2] > 1


@dtypes
def test_the_rates_decay_as_keras_inverse_time_schedule(keras, dtype):
    recipe = RmspropRecipe(learning_rate=1e-3, decay=1e-6)
    expected, rtol = keras[f"{dtype}/rates"], 4 * ULP[dtype]
    rates = [decayed_rate(step, recipe) for step in inputs.RATE_STEPS]
    np.testing.assert_allclose(rates, expected, rtol=rtol)
    late = [decayed_rate(step + 1, recipe) for step in inputs.RATE_STEPS]
    assert np.abs(late / expected - 1).max() > rtol


def test_kernels_are_drawn_from_keras_interval(keras):
    network, largest = ours("baseline", "float32"), dict.fromkeys(inputs.KERNELS, 0.0)
    for seed in range(10):
        network.initialize(torch.Generator().manual_seed(seed))
        for layer in largest:
            weight = network.get_submodule(layer).weight
            largest[layer] = max(largest[layer], weight.detach().abs().max().item())
    # Keras' limits are the largest of two million draws, ours of at least 8,640.
    for limit, (layer, found) in zip(keras["glorot"], largest.items(), strict=True):
        assert (1 - 1e-3) * limit < found < (1 + 1e-5) * limit
        of_torch = 1 / math.sqrt(inputs.fans(inputs.KERNELS[layer])[0])
        assert abs(of_torch / limit - 1) > 0.2


def test_images_are_shifted_and_mirrored_as_by_keras_generator(keras):
    image = next(batches("float64"))[0][:1]
    shifts, flips = [[x / 32, y / 32] for y, x, _ in inputs.SHIFTS], [s[2] for s in inputs.SHIFTS]

    def shifted(fractions):
        moved = shift_and_flip(
            image.expand(len(flips), -1, -1, -1),
            torch.tensor(fractions, dtype=torch.float64),
            torch.tensor(flips),
        )
        return moved.permute(0, 2, 3, 1).numpy()

    # Keras interpolates in float64 and keeps float32.
    np.testing.assert_allclose(shifted(shifts), keras["shifted"], rtol=0, atol=ULP["float32"])
    whole = [[round(32 * x) / 32, round(32 * y) / 32] for x, y in shifts]
    assert np.abs(shifted(whole) - keras["shifted"]).max() > 0.01
