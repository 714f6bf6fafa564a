"""The CNN of Keras' `cifar10_cnn.py` and of its Batch-Normalized twin, layer for layer.

    baseline   conv32 same - relu - conv32 valid - relu - pool - dropout .25
               conv64 same - relu - conv64 valid - relu - pool - dropout .25
               flatten - dense512 - relu - dropout .5 - dense10
    twin       the same with batch norm between every conv or dense and its activation,
               on the logits too (six in all), and without dropout

The biases stay where the reference has them, though a batch norm right behind makes them redundant.

Reference:
    keras-team/keras v2.2.0, examples/cifar10_cnn.py;
    spmallick/learnopencv, BatchNormalization/cifar10_cnn_bn_100epochs.py.
"""

from __future__ import annotations

from collections import OrderedDict

import torch
from torch import nn

# Keras' defaults: its momentum .99 is the weight of the old value, torch's that of the new.
KERAS_BN_MOMENTUM = 0.01
KERAS_BN_EPS = 1e-3


class KerasCnn(nn.Sequential):
    """Map images (N, 3, 32, 32) float32 in [0, 1] to logits (N, 10) float32.

    The layers carry the names `conv1` … `conv4`, `dense1`, `dense2`; the batch norm of `conv1` is
    `conv1_bn`, and so on.
    """

    def __init__(self, *, batch_norm: bool, dropout: bool, num_classes: int = 10) -> None:
        for option, value in (("batch_norm", batch_norm), ("dropout", dropout)):
            if not isinstance(value, bool):  # "no" would be true
                raise TypeError(f"{option} = {value!r} must be true or false")
        self.batch_norm = batch_norm
        self.dropout = dropout
        super().__init__(OrderedDict(self._layers(num_classes)))

    def _layers(self, num_classes: int) -> list[tuple[str, nn.Module]]:
        return [
            *self._linear_map("conv1", nn.Conv2d(3, 32, 3, padding=1)),  # (N, 32, 32, 32)
            ("conv1_relu", nn.ReLU()),
            *self._linear_map("conv2", nn.Conv2d(32, 32, 3)),  # (N, 32, 30, 30)
            ("conv2_relu", nn.ReLU()),
            ("pool1", nn.MaxPool2d(2)),  # (N, 32, 15, 15)
            *self._dropout("dropout1", 0.25),
            *self._linear_map("conv3", nn.Conv2d(32, 64, 3, padding=1)),  # (N, 64, 15, 15)
            ("conv3_relu", nn.ReLU()),
            *self._linear_map("conv4", nn.Conv2d(64, 64, 3)),  # (N, 64, 13, 13)
            ("conv4_relu", nn.ReLU()),
            ("pool2", nn.MaxPool2d(2)),  # (N, 64, 6, 6)
            *self._dropout("dropout2", 0.25),
            ("flatten", nn.Flatten()),  # (N, 2304)
            *self._linear_map("dense1", nn.Linear(2304, 512)),
            ("dense1_relu", nn.ReLU()),
            *self._dropout("dropout3", 0.5),
            *self._linear_map("dense2", nn.Linear(512, num_classes)),
        ]

    def initialize(self, generator: torch.Generator) -> None:
        """Draw the weights as Keras does."""
        initialize_glorot(self, generator)

    def _linear_map(self, name: str, layer: nn.Conv2d | nn.Linear) -> list[tuple[str, nn.Module]]:
        """Return the layer, followed in the twin by its batch norm."""
        if not self.batch_norm:
            return [(name, layer)]
        if isinstance(layer, nn.Conv2d):
            norm: nn.Module = nn.BatchNorm2d(
                layer.out_channels, eps=KERAS_BN_EPS, momentum=KERAS_BN_MOMENTUM
            )
        else:
            norm = nn.BatchNorm1d(layer.out_features, eps=KERAS_BN_EPS, momentum=KERAS_BN_MOMENTUM)
        return [(name, layer), (f"{name}_bn", norm)]

    def _dropout(self, name: str, probability: float) -> list[tuple[str, nn.Module]]:
        return [(name, nn.Dropout(probability))] if self.dropout else []


def initialize_glorot(network: nn.Module, generator: torch.Generator) -> None:
    """Draw every kernel from Glorot's uniform distribution and zero every bias, as Keras does.

    Kernels are drawn in the order of the layers and batch norms draw nothing, so that two networks
    that differ only in batch norm start from the same kernels.

    Reference:
        Glorot and Bengio 2010, equation 16: U(-l, l), l = sqrt(6 / (fan_in + fan_out)).
    """
    for layer in network.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            nn.init.xavier_uniform_(layer.weight, generator=generator)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
