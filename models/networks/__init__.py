"""Network definitions in torch, and the factory that builds one from a recipe's table.

Only architectures: how they are trained, folded and exported is `training`'s.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from models.networks.air import AirNet
from models.networks.keras_cnn import KerasCnn

__all__ = ["AirNet", "KerasCnn", "Network", "build_network"]

Network = AirNet | KerasCnn

ARCHITECTURES: Mapping[str, type[Network]] = {"air": AirNet, "keras_cnn": KerasCnn}


def build_network(architecture: str, options: Mapping[str, Any]) -> Network:
    """Return a freshly constructed network; its weights are set by its `initialize`.

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
