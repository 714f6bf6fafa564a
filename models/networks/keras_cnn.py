"""The CNN of Keras' `cifar10_cnn.py`, of its Batch-Normalized variant, and what lies between.

    baseline   conv32 same - relu - conv32 valid - relu - pool - dropout .25
               conv64 same - relu - conv64 valid - relu - pool - dropout .25
               flatten - dense512 - relu - dropout .5 - dense10
    BN model   the same with batch norm between every conv or dense and its activation,
               on the logits too (six in all), and without dropout

The biases stay where the reference has them, though a batch norm right behind makes them redundant.
Every one of these choices is an option, so that a study can change one alone.

Reference:
    keras-team/keras v2.2.0, examples/cifar10_cnn.py;
    spmallick/learnopencv, BatchNormalization/cifar10_cnn_bn_100epochs.py.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import torch
from torch import nn

from models.networks.limits import CLASSES, MOMENTA, check_count, check_number
from models.networks.norms import NORMS, Norm, norm_layers

# Keras' defaults: its momentum .99 is the weight of the old value, torch's that of the new.
KERAS_BN_MOMENTUM = 0.01
KERAS_BN_EPS = 1e-3
KERAS_DROPOUT = (0.25, 0.25, 0.5)  # after each pool, and before the last layer
GROUPS = 8
SIDES = (10, 256)  # a smaller image leaves nothing to flatten

ACTIVATIONS: Mapping[str, type[nn.Module]] = {
    "elu": nn.ELU,
    "gelu": nn.GELU,
    "leaky_relu": nn.LeakyReLU,
    "relu": nn.ReLU,
    "sigmoid": nn.Sigmoid,
    "silu": nn.SiLU,
    "tanh": nn.Tanh,
}


class KerasCnn(nn.Sequential):
    """Map images (N, 3, 32, 32) float32 in [0, 1] to logits (N, 10) float32, or other sizes.

    The layers carry the names `conv1` … `conv4`, `dense1`, `dense2`; the batch norm of `conv1` is
    `conv1_bn`, its activation `conv1_relu`, and so on.

    Arguments:
        norm: how the outputs of the layers are normalized, `models.networks.norms`.
        norm_on_logits: whether the last layer's output is normalized too.
        norm_placement: `before` the activation, or `after` it.
        normalized: which layers are, but for the last: `all`, `conv` or `dense`.
        momentum: weight of a new batch in the running statistics of batch norm.
        eps: what every norm adds to the variance.
        groups: of group norm.
        activation: one of `ACTIVATIONS`.
        dropout: the three rates; true for Keras', false for none.
        bias: whether convolutions and dense layers have biases.
        initial_scale: factor on the initial kernels.
        batch_norm: short for `norm` and `norm_on_logits` together, as in Keras' pair.
        num_classes: how many logits there are.
        side: height and width of the images, in pixels: `dense1` counts on it.

    """

    def __init__(
        self,
        *,
        norm: Norm = "none",
        norm_on_logits: bool = False,
        norm_placement: Literal["before", "after"] = "before",
        normalized: Literal["all", "conv", "dense"] = "all",
        momentum: float = KERAS_BN_MOMENTUM,
        eps: float = KERAS_BN_EPS,
        groups: int = GROUPS,
        activation: str = "relu",
        dropout: bool | Sequence[float] = False,
        bias: bool = True,
        initial_scale: float = 1.0,
        batch_norm: bool | None = None,
        num_classes: int = 10,
        side: int = 32,
    ) -> None:
        if batch_norm is not None:
            _check_flag("batch_norm", batch_norm)
            if norm != "none" or norm_on_logits:
                raise TypeError("batch_norm is short for norm and norm_on_logits; leave it out")
            norm, norm_on_logits = ("batch", True) if batch_norm else ("none", False)
        _check_choice("norm", norm, NORMS)
        _check_choice("norm_placement", norm_placement, ("before", "after"))
        _check_choice("normalized", normalized, ("all", "conv", "dense"))
        _check_choice("activation", activation, tuple(ACTIVATIONS))
        for name, flag in (("norm_on_logits", norm_on_logits), ("bias", bias)):
            _check_flag(name, flag)
        check_number("momentum", momentum, *MOMENTA)
        check_number("eps", eps, 1e-12, 1)
        check_number("initial_scale", initial_scale, 1e-6, 1e6)
        check_count("groups", groups, 1, 512)
        check_count("num_classes", num_classes, *CLASSES)
        check_count("side", side, *SIDES)
        if norm == "none" and norm_on_logits:
            raise TypeError('norm_on_logits = true needs a norm; write norm = "batch", for example')
        self.norm = norm
        self.norm_on_logits = norm_on_logits
        self.norm_placement = norm_placement
        self.normalized = normalized
        self.norm_settings: dict[str, Any] = {"momentum": momentum, "eps": eps, "groups": groups}
        self.activation = activation
        self.dropout_rates = _dropout_rates(dropout)
        self.bias = bias
        self.initial_scale = initial_scale
        super().__init__(OrderedDict(self._layers(num_classes, side)))

    def _layers(self, num_classes: int, side: int) -> list[tuple[str, nn.Module]]:
        bias, rates = self.bias, self.dropout_rates
        last = ((side - 2) // 2 - 2) // 2  # 6 of 32: the side of the map that is flattened
        features = 64 * last**2
        return [
            *self._hidden("conv1", nn.Conv2d(3, 32, 3, padding=1, bias=bias)),  # (N, 32, 32, 32)
            *self._hidden("conv2", nn.Conv2d(32, 32, 3, bias=bias)),  # (N, 32, 30, 30)
            ("pool1", nn.MaxPool2d(2)),  # (N, 32, 15, 15)
            *_dropout("dropout1", rates[0]),
            *self._hidden("conv3", nn.Conv2d(32, 64, 3, padding=1, bias=bias)),  # (N, 64, 15, 15)
            *self._hidden("conv4", nn.Conv2d(64, 64, 3, bias=bias)),  # (N, 64, 13, 13)
            ("pool2", nn.MaxPool2d(2)),  # (N, 64, 6, 6)
            *_dropout("dropout2", rates[1]),
            ("flatten", nn.Flatten()),  # (N, 2304)
            *self._hidden("dense1", nn.Linear(features, 512, bias=bias)),
            *_dropout("dropout3", rates[2]),
            *self._logits("dense2", nn.Linear(512, num_classes, bias=bias)),
        ]

    def initialize(self, generator: torch.Generator) -> None:
        """Draw the weights as Keras does, times `initial_scale`."""
        initialize_glorot(self, generator, self.initial_scale)

    def _hidden(self, name: str, layer: nn.Conv2d | nn.Linear) -> list[tuple[str, nn.Module]]:
        """Return the layer, its activation, and its norm before or after that."""
        activation = (f"{name}_{self.activation}", ACTIVATIONS[self.activation]())
        kind = "conv" if isinstance(layer, nn.Conv2d) else "dense"
        norm = self._norm(name, layer) if self.normalized in ("all", kind) else []
        behind = [*norm, activation] if self.norm_placement == "before" else [activation, *norm]
        return [(name, layer), *behind]

    def _logits(self, name: str, layer: nn.Linear) -> list[tuple[str, nn.Module]]:
        return [(name, layer), *(self._norm(name, layer) if self.norm_on_logits else [])]

    def _norm(self, name: str, layer: nn.Conv2d | nn.Linear) -> list[tuple[str, nn.Module]]:
        layers = norm_layers(self.norm, layer, **self.norm_settings)
        return [(f"{name}_{suffix}", norm) for suffix, norm in layers]


def _dropout(name: str, rate: float) -> list[tuple[str, nn.Module]]:
    return [(name, nn.Dropout(rate))] if rate else []


def _dropout_rates(dropout: object) -> tuple[float, ...]:
    if isinstance(dropout, bool):
        return KERAS_DROPOUT if dropout else (0.0, 0.0, 0.0)
    sound = isinstance(dropout, list | tuple) and len(dropout) == 3
    if not sound or not all(type(rate) in (int, float) and 0 <= rate < 1 for rate in dropout):  # type: ignore[attr-defined]
        raise TypeError(
            f"dropout = {dropout!r} must be true, false or three rates from 0 to below 1, "
            f"as {list(KERAS_DROPOUT)}"
        )
    return tuple(float(rate) for rate in dropout)  # type: ignore[attr-defined]


def _check_flag(name: str, value: object) -> None:
    if not isinstance(value, bool):  # "no" would be true
        raise TypeError(f"{name} = {value!r} must be true or false")


def _check_choice(name: str, value: object, choices: Sequence[str]) -> None:
    if value not in choices:
        raise TypeError(f"{name} = {value!r} must be one of {', '.join(choices)}")


def initialize_glorot(network: nn.Module, generator: torch.Generator, scale: float = 1.0) -> None:
    """Draw every kernel from Glorot's uniform distribution and zero every bias, as Keras does.

    Kernels are drawn in the order of the layers and norms draw nothing, so that two networks
    that differ only in their norms start from the same kernels. `scale` multiplies the kernels.

    Reference:
        Glorot and Bengio 2010, equation 16: U(-l, l), l = sqrt(6 / (fan_in + fan_out)).
    """
    for layer in network.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            nn.init.xavier_uniform_(layer.weight, gain=scale, generator=generator)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
