"""The options of the Keras CNN: each changes what it names, and nothing else."""

import pytest
import torch
from torch import nn

from models.networks import build_network
from models.networks.keras_cnn import ACTIVATIONS, KerasCnn
from models.networks.norms import ActivationNoise

LAYERS = ("conv1", "conv2", "conv3", "conv4", "dense1", "dense2")


def names(**options):
    return [name for name, _ in KerasCnn(**options).named_children()]


def kinds(network):
    return [type(layer).__name__ for layer in network]


def initialized(**options):
    network = KerasCnn(**options)
    network.initialize(torch.Generator().manual_seed(0))
    return network


def images(count=4):
    return torch.rand(count, 3, 32, 32, generator=torch.Generator().manual_seed(1))


def test_the_old_words_of_released_recipes_build_the_same_networks():
    assert str(KerasCnn(batch_norm=True, dropout=False)) == str(
        KerasCnn(norm="batch", norm_on_logits=True)
    )
    assert str(KerasCnn(batch_norm=False, dropout=True)) == str(KerasCnn(dropout=(0.25, 0.25, 0.5)))


def test_a_norm_stands_before_its_activation_or_after_it():
    before = names(norm="batch")
    after = names(norm="batch", norm_placement="after")
    assert before[:3] == ["conv1", "conv1_bn", "conv1_relu"]
    assert after[:3] == ["conv1", "conv1_relu", "conv1_bn"]
    assert sorted(before) == sorted(after)


def test_norms_can_be_on_the_convolutions_or_the_dense_layer_alone():
    def normalized(**options):
        return [name[:-3] for name in names(norm="batch", **options) if name.endswith("_bn")]

    assert normalized() == list(LAYERS[:5])
    assert normalized(normalized="conv") == list(LAYERS[:4])
    assert normalized(normalized="dense") == ["dense1"]
    assert normalized(norm_on_logits=True) == list(LAYERS)


def test_group_and_layer_norm_treat_each_image_alone():
    for norm in ("group", "layer"):
        network = initialized(norm=norm).train()
        both = network(images(2))
        torch.testing.assert_close(both[:1], network(images(2)[:1]), rtol=1e-4, atol=1e-5)


def test_layer_norm_gives_each_image_mean_zero_and_variance_one():
    network = initialized(norm="layer", eps=1e-8)
    features = network.conv1_ln(network.conv1(images()))
    flat = features.flatten(1)
    torch.testing.assert_close(flat.mean(1), torch.zeros(4), atol=1e-5, rtol=0)
    torch.testing.assert_close(flat.var(1, correction=0), torch.ones(4), atol=1e-4, rtol=0)


def test_noise_is_drawn_anew_in_every_training_step_and_never_in_inference():
    noise = ActivationNoise()
    features = torch.randn(64, 8, 4, 4, generator=torch.Generator().manual_seed(0))
    assert torch.equal(noise.eval()(features), features)
    noise.train()
    torch.manual_seed(3)
    first, second = noise(features), noise(features)
    assert not torch.equal(first, second)
    torch.manual_seed(3)
    assert torch.equal(first, noise(features))


def test_noise_shifts_and_scales_whole_channels_away_from_mean_0_and_deviation_1():
    torch.manual_seed(0)
    features = torch.randn(512, 32, 2, 2)
    noisy = ActivationNoise().train()(features)
    mean, deviation = noisy.mean((0, 2, 3)), noisy.std((0, 2, 3))
    assert mean.abs().max() > 0.3
    assert deviation.min() > 0.95
    assert deviation.max() > 1.1


def test_noisy_batch_norm_is_batch_norm_in_inference():
    noisy, plain = initialized(norm="noisy-batch").eval(), initialized(norm="batch").eval()
    assert torch.equal(noisy(images()), plain(images()))


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_every_activation_can_be_chosen(activation):
    network = KerasCnn(activation=activation)
    chosen = [layer for layer in network if isinstance(layer, ACTIVATIONS[activation])]
    assert len(chosen) == 5
    assert f"conv1_{activation}" in dict(network.named_children())


def test_biases_can_be_left_out():
    assert not [name for name, _ in KerasCnn(bias=False).named_parameters() if "bias" in name]


def test_the_initial_scale_multiplies_every_kernel_and_no_bias():
    once, thrice = initialized(), initialized(initial_scale=3.0)
    for name, weight in once.named_parameters():
        torch.testing.assert_close(thrice.get_parameter(name), 3 * weight)


def test_dropout_rates_can_be_given_one_by_one_and_a_rate_of_0_is_no_layer():
    rates = [layer.p for layer in KerasCnn(dropout=[0.1, 0, 0.5]) if isinstance(layer, nn.Dropout)]
    assert rates == [0.1, 0.5]


def test_momentum_and_eps_reach_every_batch_norm():
    norms = [
        layer
        for layer in KerasCnn(norm="batch", momentum=0.5, eps=1e-2)
        if isinstance(layer, nn.BatchNorm1d | nn.BatchNorm2d)
    ]
    assert {(norm.momentum, norm.eps) for norm in norms} == {(0.5, 1e-2)}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"norm": "instance"}, "norm = 'instance' must be one of none, batch, noisy-batch"),
        ({"activation": "swish"}, "activation = 'swish' must be one of elu, gelu"),
        ({"norm_placement": "beside"}, "must be one of before, after"),
        ({"normalized": "pool"}, "must be one of all, conv, dense"),
        ({"norm": "group", "groups": 7}, r"groups = 7 must divide 32.*1, 2, 4, 8, 16, 32"),
        ({"groups": 0}, "groups = 0 must be an integer from 1 to 512"),
        ({"norm_on_logits": True}, 'needs a norm; write norm = "batch"'),
        ({"norm": "batch", "batch_norm": True}, "batch_norm is short for norm"),
        ({"dropout": [0.5, 0.5]}, "three rates from 0 to below 1"),
        ({"dropout": [0.5, 0.5, 1]}, "three rates from 0 to below 1"),
        ({"momentum": 0}, "momentum = 0 must be from 1e-06 to 1"),
        ({"eps": -1e-3}, "eps = -0.001 must be from 1e-12 to 1"),
        ({"initial_scale": "big"}, "initial_scale = 'big' must be from 1e-06"),
        ({"bias": 1}, "bias = 1 must be true or false"),
    ],
)
def test_a_wrong_option_is_named_with_what_is_allowed(options, message):
    with pytest.raises(ValueError, match=message):
        build_network("keras_cnn", options)


def test_kinds_of_the_group_normed_network():
    assert kinds(KerasCnn(norm="group"))[:3] == ["Conv2d", "GroupNorm", "ReLU"]
