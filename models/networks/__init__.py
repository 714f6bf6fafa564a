"""Network definitions in torch, and the factory that builds one from a recipe's table.

Only architectures: how they are trained, folded and exported is `training`'s.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from models.networks.air import AirNet
from models.networks.keras_cnn import KerasCnn

__all__ = ["AirNet", "KerasCnn", "Network", "build_network", "default_options", "scale_logits"]

Network = AirNet | KerasCnn

ARCHITECTURES: Mapping[str, type[Network]] = {"air": AirNet, "keras_cnn": KerasCnn}


@torch.no_grad()
def scale_logits(network: nn.Module, factor: float) -> None:
    """Multiply what the last layer gives, in float64 and rounded once."""
    layers = [layer for layer in network.children() if list(layer.parameters())]
    for parameter in layers[-1].parameters():
        parameter.copy_((parameter.double() * factor).to(parameter.dtype))


def default_options(architecture: str) -> dict[str, Any]:
    """Return the options of an architecture with their defaults; None where one has to be given."""
    parameters = inspect.signature(ARCHITECTURES[architecture]).parameters.values()
    return {
        one.name: None if one.default is inspect.Parameter.empty else one.default
        for one in parameters
    }


def build_network(architecture: str, options: Mapping[str, Any]) -> Network:
    """Return a freshly constructed network; its weights are set by its `initialize`.

    Raises:
        ValueError: no architecture of that name, or an option that it does not take.
    """
    if architecture not in ARCHITECTURES:
        known = ", ".join(sorted(ARCHITECTURES))
        raise ValueError(f"unknown architecture {architecture!r}; known: {known}")
    known_options = default_options(architecture)
    if unknown := sorted(options.keys() - known_options.keys()):
        raise ValueError(
            f"options of {architecture!r}: there is no {unknown[0]!r}; there are "
            f"{', '.join(known_options)}"
        )
    try:
        return ARCHITECTURES[architecture](**options)
    except TypeError as exc:
        raise ValueError(f"options of {architecture!r}: {exc}") from exc
