"""Files of torch weights: a checkpoint of ours, or anybody's dictionary of weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from training.errors import CheckpointError
from training.folding.doctor.kernels import Kernels
from training.folding.doctor.record import NormRecord
from training.folding.doctor.states import norms_of_state
from training.trainer.run.checkpoint import load_checkpoint
from training.trainer.run.saved_networks import network_from_checkpoint

WRAPPERS = ("state_dict", "model_state_dict", "model", "network")
OURS = {"format", "recipe", "network"}


def read_weights(path: Path) -> tuple[list[NormRecord], Kernels, nn.Module | None]:
    """Return the batch norms and kernels in a file, and the network of a checkpoint of ours.

    Raises:
        CheckpointError: it is damaged, needs more than tensors to be read, or holds no weights.
    """
    if not path.is_file():
        raise CheckpointError(f"{path}: no such file; give the path of a checkpoint")
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as exc:  # torch.load raises zip, pickle, runtime and OS errors alike
        reason = str(exc).partition("\n")[0]
        raise CheckpointError(
            f"{path}: no weights that can be read safely ({reason}); save model.state_dict()"
        ) from exc
    if isinstance(content, dict) and set(content) >= OURS:
        network, _ = network_from_checkpoint(load_checkpoint(path))
        return norms_of_network(network), _kernels(network.state_dict()), network
    state = _state(path, content)
    return norms_of_state(_arrays(state)), _kernels(state), None


def norms_of_network(network: nn.Module) -> list[NormRecord]:
    """Return the batch norms of a network, whose eps are known."""
    eps = {n: layer.eps for n, layer in network.named_modules() if isinstance(layer, _BatchNorm)}
    return norms_of_state(_arrays(network.state_dict()), eps)


def _state(path: Path, content: Any) -> dict[str, torch.Tensor]:
    """Return the dictionary of weights, which often lies inside of another."""
    candidates = [content]
    if isinstance(content, dict):
        candidates += [content[name] for name in WRAPPERS if name in content]
    for candidate in candidates:
        if isinstance(candidate, dict):
            tensors = {
                key: value
                for key, value in candidate.items()
                if isinstance(key, str) and isinstance(value, torch.Tensor)
            }
            if tensors:
                return tensors
    raise CheckpointError(f"{path}: holds no weights by name; save model.state_dict()")


def _kernels(state: dict[str, torch.Tensor]) -> Kernels:
    return (
        (key, np.asarray(value.float().numpy()))
        for key, value in state.items()
        if value.ndim > 1 and value.is_floating_point()
    )


def _arrays(state: dict[str, torch.Tensor]) -> dict[str, NDArray[np.float64]]:
    """Return what may belong to a batch norm; kernels are left out, they are large."""
    small = {key: value for key, value in state.items() if value.ndim <= 1 and value.numel()}
    return {key: np.asarray(value.double().numpy()) for key, value in small.items()}
