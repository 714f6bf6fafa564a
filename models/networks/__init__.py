"""Network definitions in torch, and the factory that builds one from a recipe's table."""

from __future__ import annotations

from collections.abc import Mapping

from torch import nn

from models.networks.keras_cnn import KerasCnn

__all__ = ["KerasCnn", "build_network"]

ARCHITECTURES: Mapping[str, type[nn.Module]] = {"keras_cnn": KerasCnn}


def build_network(architecture: str, options: Mapping[str, object]) -> nn.Module:
    """Return a freshly constructed network; its weights are set by `initialize_glorot`.

    Raises:
        ValueError: no architecture of that name, or an option that it does not take.
    """
    if architecture not in ARCHITECTURES:
        known = ", ".join(sorted(ARCHITECTURES))
        raise ValueError(f"unknown architecture {architecture!r}; known: {known}")
    try:
        return ARCHITECTURES[architecture](**options)
    except TypeError as exc:
        raise ValueError(f"options of {architecture!r}: {exc}") from exc
