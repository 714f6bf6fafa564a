"""Batch norms: what they apply in inference mode, or why they must stay."""

from __future__ import annotations

import copy

import numpy as np
import torch
from numpy.typing import NDArray
from torch import fx, nn
from torch.nn import functional
from torch.nn.modules.batchnorm import _BatchNorm, _NormBase

from training.folding.algebra.affine import BatchNormStats, ChannelMap, FoldRefused, channel_map
from training.folding.engine.graph import Affine, KeptNorm, Norm
from training.folding.torch_frontend.arrays import float64, tensor_like
from training.folding.torch_frontend.calls import Call
from training.folding.torch_frontend.capture.constants import Constants
from training.folding.torch_frontend.capture.tracing import (
    Reasons,
    has_own_forward,
    user_hooks,
)

FUNCTIONS = (functional.batch_norm, torch.batch_norm)
_BY_RANK = {2: nn.BatchNorm1d, 3: nn.BatchNorm1d, 4: nn.BatchNorm2d, 5: nn.BatchNorm3d}
_PARAMETERS = {
    "gamma": "weight",
    "beta": "bias",
    "running_mean": "running_mean",
    "running_var": "running_var",
}


def is_batch_norm(call: Call) -> bool:
    """Return whether a call is a batch norm, as a module or as a function."""
    return isinstance(call.module, _BatchNorm) or call.function in FUNCTIONS


def norm_operation(
    call: Call, norm: Norm, constants: Constants, whole: Reasons
) -> Affine | KeptNorm:
    """Return the map that a batch norm applies, or the norm with the reason that it stays.

    `whole` says of classes that could not be looked into why.
    """
    try:
        map_ = channel_map(_stats(call, constants, norm.channels))
        if call.module is not None:
            _check_module(call.name, call.module, whole)
        return Affine(1, map_, (norm,))
    except FoldRefused as refusal:
        return KeptNorm(norm, str(refusal))


def keeps_statistics(module: nn.Module) -> bool:
    """Return whether a module is a batch norm, or has what a frozen one has."""
    names = ("running_mean", "running_var")
    return isinstance(module, _BatchNorm) or (
        not isinstance(module, _NormBase)
        and all(isinstance(getattr(module, name, None), torch.Tensor) for name in names)
    )


def number_of_channels(norm: nn.Module) -> int:
    """Return how many channels a module has that keeps statistics, or might."""
    if isinstance(norm, _BatchNorm):
        return int(norm.num_features)
    return norm.running_mean.numel()  # type: ignore[operator] # a tensor


def new_norm(
    call: Call, constants: Constants, map_: ChannelMap, rank: int, *, exact: bool = False
) -> nn.Module:
    """Return a batch norm with the statistics of one, and gamma and beta that apply the map.

    With `exact` it is in float64, and else in the type that it was.
    """
    norm = _module(call, constants, _stats_of(call, constants, map_.scale.size), rank)
    if exact:
        norm = copy.deepcopy(norm).double()
    like = norm.running_mean
    assert isinstance(like, torch.Tensor), "checked when it was read"
    gamma, beta = gamma_and_beta(call, constants, map_)
    norm._parameters = {
        "weight": nn.Parameter(tensor_like(gamma, like), requires_grad=False),
        "bias": nn.Parameter(tensor_like(beta, like), requires_grad=False),
    }
    setattr(norm, "affine", True)  # noqa: B010 - a module's attributes have no types
    return norm


def gamma_and_beta(
    call: Call, constants: Constants, map_: ChannelMap
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return with what a batch norm applies a map, its statistics being what they are.

    gamma = scale * sqrt(running_var + eps)         beta = shift + running_mean * scale
    """
    stats = _stats_of(call, constants, map_.scale.size)
    gamma = map_.scale * np.sqrt(stats.running_var + stats.eps)
    return gamma, map_.shift + stats.running_mean * map_.scale


def _stats_of(call: Call, constants: Constants, channels: int) -> BatchNormStats:
    """Return the statistics of a batch norm; a frozen one has those that change nothing."""
    if is_batch_norm(call):
        return _stats(call, constants, channels)
    one, zero = np.ones(channels), np.zeros(channels)
    return BatchNormStats(one, zero, zero, one, eps=0.0)


def _check_module(name: str, module: nn.Module, whole: Reasons) -> None:
    assert isinstance(module, _BatchNorm), "asked before"
    if user_hooks(module):
        raise FoldRefused(f"a forward hook on {name} would see other values; remove it first")
    if has_own_forward(module):
        raise FoldRefused(
            f"{type(module).__name__} has a forward of its own, which torch.fx cannot trace: "
            f"{whole.get(type(module), 'it is in training mode')}"
        )
    if nn.utils.parametrize.is_parametrized(module):
        raise FoldRefused(
            f"{name} is parametrized; bake that in first with "
            "torch.nn.utils.parametrize.remove_parametrizations"
        )


def _stats(call: Call, constants: Constants, channels: int) -> BatchNormStats:
    """Return all numbers in float64; without affine parameters gamma is 1 and beta 0.

    Raises:
        FoldRefused: it normalizes by the batch that it sees.
    """
    if call.setting("training", False):
        remedy = "call eval() first" if call.module is not None else "pass training=False"
        raise FoldRefused(f"it is in training mode; {remedy}")
    if call.setting("running_mean") is None or call.setting("running_var") is None:
        raise FoldRefused(
            "it keeps no running statistics; build it with track_running_stats=True and train it"
        )
    arrays = {field: _numbers(call.setting(name), constants) for field, name in _PARAMETERS.items()}
    missing = {"gamma": np.ones(channels), "beta": np.zeros(channels)}
    given = {field: values for field, values in arrays.items() if values is not None}
    return BatchNormStats(**(missing | given), eps=float(call.setting("eps", 1e-5)))


def _numbers(value: object, constants: Constants) -> NDArray[np.float64] | None:
    if isinstance(value, fx.Node):
        if value not in constants:
            raise FoldRefused("its parameters are computed from the input")
        value = constants.tensor(value)
    assert value is None or isinstance(value, torch.Tensor), "a batch norm takes tensors"
    return None if value is None else float64(value)


def _module(call: Call, constants: Constants, stats: BatchNormStats, rank: int) -> nn.Module:
    """Return a module that may be changed and normalizes as the call does."""
    if call.module is not None:
        return copy.copy(call.module)
    node = call.setting("running_mean")
    like = call.node.meta["like"] if node is None else constants.like(node)
    norm = _BY_RANK[rank](stats.running_mean.size, eps=stats.eps).eval()
    norm.running_mean = tensor_like(stats.running_mean, like)
    norm.running_var = tensor_like(stats.running_var, like)
    return norm
