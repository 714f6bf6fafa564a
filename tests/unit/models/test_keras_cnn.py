"""The pair of networks: the reference's layers, counts and initial weights."""

import math

import pytest
import torch
from torch import nn

from models.networks import build_network
from models.networks.keras_cnn import KerasCnn, initialize_glorot


def twin(seed=0):
    network = KerasCnn(batch_norm=True, dropout=False)
    initialize_glorot(network, torch.Generator().manual_seed(seed))
    return network


def baseline(seed=0):
    network = KerasCnn(batch_norm=False, dropout=True)
    initialize_glorot(network, torch.Generator().manual_seed(seed))
    return network


def kinds(network):
    return [type(layer).__name__ for layer in network]


def test_the_baseline_is_the_references_layer_for_layer():
    block = ["Conv2d", "ReLU", "Conv2d", "ReLU", "MaxPool2d", "Dropout"]
    head = ["Flatten", "Linear", "ReLU", "Dropout", "Linear"]
    assert block + block + head == kinds(baseline())
    assert [layer.p for layer in baseline() if isinstance(layer, nn.Dropout)] == [0.25, 0.25, 0.5]
    assert [layer.padding for layer in baseline() if isinstance(layer, nn.Conv2d)] == [
        (1, 1),
        (0, 0),
    ] * 2


def test_the_twin_has_batch_norm_before_each_activation_and_on_the_logits_and_no_dropout():
    block = ["Conv2d", "BatchNorm2d", "ReLU"] * 2 + ["MaxPool2d"]
    head = ["Flatten", "Linear", "BatchNorm1d", "ReLU", "Linear", "BatchNorm1d"]
    assert block + block + head == kinds(twin())


def test_the_batch_norms_are_keras_in_torchs_terms():
    norms = [layer for layer in twin() if "BatchNorm" in type(layer).__name__]
    assert [norm.num_features for norm in norms] == [32, 32, 64, 64, 512, 10]
    assert {(1e-3, 0.01)} == {(norm.eps, norm.momentum) for norm in norms}


def test_the_moving_average_weighs_the_new_value_by_one_percent():
    norm = twin().conv1_bn
    x = torch.randn(8, 32, 4, 4, generator=torch.Generator().manual_seed(1)) * 3 + 5
    norm.train()(x)
    expected = 0.99 * 0 + 0.01 * x.mean(dim=(0, 2, 3))
    torch.testing.assert_close(norm.running_mean, expected)
    expected = 0.99 * 1 + 0.01 * x.var(dim=(0, 2, 3), unbiased=True)
    torch.testing.assert_close(norm.running_var, expected)
    biased = 0.99 * 1 + 0.01 * x.var(dim=(0, 2, 3), unbiased=False)  # Keras 3's
    torchs_momentum = 0.9 * 1 + 0.1 * x.var(dim=(0, 2, 3), unbiased=True)
    for other in (biased, torchs_momentum):  # 128 values a channel: biased is 6e-4 off
        with pytest.raises(AssertionError):
            torch.testing.assert_close(norm.running_var, other)


def test_inference_divides_by_the_root_of_the_variance_plus_keras_eps():
    norm = twin().double().dense1_bn.eval()
    generator = torch.Generator().manual_seed(2)
    x = torch.randn(4, 512, generator=generator, dtype=torch.float64)
    with torch.no_grad():
        for tensor in (norm.weight, norm.bias, norm.running_mean):
            tensor.normal_(generator=generator)
        norm.running_var.uniform_(1e-4, 1e-2, generator=generator)  # near eps, where it matters

    def by_hand(eps):
        return (x - norm.running_mean) / (norm.running_var + eps).sqrt() * norm.weight + norm.bias

    torch.testing.assert_close(norm(x), by_hand(1e-3))
    with pytest.raises(AssertionError):
        torch.testing.assert_close(norm(x), by_hand(1e-5))  # torch's own eps


def parameters(network):
    return sum(p.numel() for p in network.parameters())


def test_the_counts_are_the_references():
    assert parameters(baseline()) == 1_250_858
    assert parameters(twin()) == 1_250_858 + 1_428
    running = [b for name, b in twin().named_buffers() if "running" in name]
    assert sum(b.numel() for b in running) == 1_428


@pytest.mark.parametrize(
    ("name", "fan_in", "fan_out"),
    [
        ("conv1", 27, 288),
        ("conv2", 288, 288),
        ("conv3", 288, 576),
        ("conv4", 576, 576),
        ("dense1", 2304, 512),
        ("dense2", 512, 10),
    ],
)
def test_kernels_fill_glorots_interval_and_biases_are_zero(name, fan_in, fan_out):
    layer = baseline().get_submodule(name)
    limit = math.sqrt(6 / (fan_in + fan_out))
    largest = layer.weight.abs().max().item()
    assert 0.98 * limit < largest <= limit
    torch_limit = 1 / math.sqrt(fan_in)  # what torch would have drawn from instead
    assert abs(largest - torch_limit) > 0.05 * torch_limit
    assert not layer.bias.any()


def test_twins_of_one_seed_start_from_the_same_kernels():
    left, right = dict(baseline().named_parameters()), dict(twin().named_parameters())
    assert all(torch.equal(left[name], right[name]) for name in left)
    other = dict(twin(seed=1).named_parameters())
    assert not torch.equal(left["conv2.weight"], other["conv2.weight"])


def test_a_bias_before_batch_norm_has_no_gradient():
    x = torch.rand(16, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    labels = torch.arange(16) % 10
    gradients = {}
    for name, network in (("with", twin()), ("without", baseline())):
        nn.functional.cross_entropy(network.train()(x), labels).backward()
        gradients[name] = network.conv2.bias.grad.abs().max().item()
    assert gradients["with"] < 1e-4 * gradients["without"]


def test_scaling_a_kernel_before_batch_norm_changes_nothing_but_through_eps():
    network = twin().double().train()
    x = torch.rand(16, 3, 32, 32, dtype=torch.float64)
    network.conv1_bn.eps = 1e-12  # torch trains with none at all only above zero
    block = nn.Sequential(network.conv1, network.conv1_bn, network.conv1_relu)
    before = block(x)
    with torch.no_grad():
        network.conv1.weight *= 7
    torch.testing.assert_close(block(x), before)


def test_a_network_maps_images_to_ten_logits():
    assert twin().eval()(torch.rand(2, 3, 32, 32)).shape == (2, 10)


def test_unknown_architectures_and_options_are_named():
    with pytest.raises(ValueError, match="unknown architecture 'resnet'; known: air, keras_cnn"):
        build_network("resnet", {})
    with pytest.raises(ValueError, match="options of 'keras_cnn'"):
        build_network("keras_cnn", {"batch_norm": True, "dropout": False, "depth": 3})


@pytest.mark.parametrize("value", ["no", 0])
def test_a_switch_that_is_neither_true_nor_false_is_refused(value):
    with pytest.raises(ValueError, match=f"batch_norm = {value!r} must be true or false"):
        build_network("keras_cnn", {"batch_norm": value, "dropout": False})


def test_the_parameters_keep_the_names_that_checkpoints_know():
    layers = ("conv1", "conv2", "conv3", "conv4", "dense1", "dense2")
    of_layers = {f"{layer}.{part}" for layer in layers for part in ("weight", "bias")}
    assert of_layers == set(baseline().state_dict())
    parts = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")
    of_norms = {f"{layer}_bn.{part}" for layer in layers for part in parts}
    assert of_layers | of_norms == set(twin().state_dict())


def test_dropout_drops_in_training_and_never_in_inference():
    network = baseline()
    x = torch.rand(4, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    torch.manual_seed(0)
    network.train()
    assert not torch.equal(network(x), network(x))
    network.eval()
    assert torch.equal(network(x), network(x))
    for name, rate in (("dropout1", 0.25), ("dropout2", 0.25), ("dropout3", 0.5)):
        layer = network.get_submodule(name).train()
        kept = layer(torch.ones(100_000))
        deviation = (rate * (1 - rate) / 100_000) ** 0.5
        assert abs((kept == 0).float().mean() - rate) < 5 * deviation
        assert kept.max() == pytest.approx(1 / (1 - rate))


def test_with_epsilon_a_small_kernel_is_not_scale_free():
    """The control of the scale test: with Keras' eps a shrunken kernel does change the output."""
    network = twin().double().train()
    x = torch.rand(16, 3, 32, 32, dtype=torch.float64)
    block = nn.Sequential(network.conv1, network.conv1_bn)
    before = block(x)
    with torch.no_grad():
        network.conv1.weight *= 0.01
    assert (block(x) - before).abs().max() > 0.1
