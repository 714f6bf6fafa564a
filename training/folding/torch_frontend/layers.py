"""Convolutions, transposed convolutions and dense layers: what they are, and new ones like them.

Weights that a layer keeps as direction and length, w = g v / |v|, are read in both of torch's ways.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import fx, nn
from torch.nn import functional
from torch.nn.utils import parametrize
from torch.nn.utils.parametrizations import _WeightNorm
from torch.nn.utils.weight_norm import WeightNorm

from training.folding.algebra.linear_map import Kind, LinearMap
from training.folding.torch_frontend.arrays import (
    float64,
    in_own_dtype,
    numpy_dtype,
    tensor_like,
)
from training.folding.torch_frontend.calls import Call
from training.folding.torch_frontend.capture.constants import Constants
from training.folding.torch_frontend.capture.tracing import user_hooks

Layer = nn.Linear | nn.modules.conv._ConvNd
CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
TRANSPOSED = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
FUNCTIONS: dict[object, type[Layer]] = {
    functional.linear: nn.Linear,
    functional.conv1d: nn.Conv1d,
    functional.conv2d: nn.Conv2d,
    functional.conv3d: nn.Conv3d,
    functional.conv_transpose1d: nn.ConvTranspose1d,
    functional.conv_transpose2d: nn.ConvTranspose2d,
    functional.conv_transpose3d: nn.ConvTranspose3d,
}
FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)


@dataclass(frozen=True, eq=False)
class LayerCall:
    """A layer as a traced network calls it.

    Attributes:
        layer: torch's class of it.
        map: its weights and geometry, for the rules.
        like: a tensor of the dtype and on the device of the weights.
        stride, padding, padding_mode, dilation, output_padding: as torch's class takes them.
        zero_padding: what `map.padding` was before any rule changed it.
    """

    layer: type[Layer]
    map: LinearMap
    like: torch.Tensor
    stride: tuple[int, ...] = ()
    padding: tuple[int, ...] | str = ()
    padding_mode: str = "zeros"
    dilation: tuple[int, ...] = ()
    output_padding: tuple[int, ...] = ()
    zero_padding: tuple[tuple[int, int], ...] | None = None


def layer_class(call: Call) -> type[Layer] | None:
    """Return which of torch's layers a call is, None for none of them or one that does more."""
    if call.module is None:
        return FUNCTIONS.get(call.function)
    return next((layer for layer in FUNCTIONS.values() if _computes(call.module, layer)), None)


def _computes(module: nn.Module, layer: type[Layer]) -> bool:
    return isinstance(module, layer) and all(
        getattr(type(module), name, None) is getattr(layer, name, None)
        for name in ("forward", "_conv_forward")
    )


def layer_call(call: Call, constants: Constants, rank: int) -> LayerCall | str:
    """Return a layer, or why it is none: its weights are not constant, or its input is no batch."""
    layer = layer_class(call)
    assert layer is not None, "asked before"
    weight, bias = call.setting("weight"), call.setting("bias")
    if any(isinstance(v, fx.Node) and v not in constants for v in (weight, bias)):
        return f"{call.kind} with weights computed from the input"
    like = constants.like(weight) if isinstance(weight, fx.Node) else weight
    if like.dtype not in FLOATS:
        return f"{call.kind} with weights of {like.dtype}"
    if layer is nn.Linear:
        return LayerCall(layer, _linear_map(call, constants, "dense"), like)
    if rank != like.dim():
        return f"{call.kind} without a batch"
    return _convolution(call, constants, layer, like)


def layer_home(call: Call, original: nn.Module) -> tuple[str, str] | None:
    """Return the paths of a layer's weights and bias in the network, None where it has none.

    A layer without a bias has the path that its module would look for one.
    """
    if call.module is not None:
        return f"{call.name}.weight", f"{call.name}.bias"
    weight, bias = call.setting("weight"), call.setting("bias")
    if getattr(weight, "op", "") != "get_attr":
        return None
    if getattr(bias, "op", "") == "get_attr":
        return str(weight.target), str(bias.target)
    owner, _, name = str(weight.target).rpartition(".")
    module = original.get_submodule(owner)
    looks = name == "weight" and any(_computes(module, layer) for layer in FUNCTIONS.values())
    return (str(weight.target), f"{owner}.bias") if looks and bias is None else None


def new_layer(call: LayerCall, *, training: bool, exact: bool = False) -> Layer:
    """Return a layer of torch with the weights and the geometry that the map has now.

    With `exact` its weights are in float64, and else rounded once to the type that they were.
    """
    map_ = call.map
    like = call.like.new_empty((), dtype=torch.float64) if exact else call.like
    sizes = (map_.channels_in, map_.channels_out, map_.weight_shape[2:])
    settings: dict[str, Any] = {"bias": map_.bias is not None, "device": "meta"}
    if map_.kind == "dense":
        layer: Layer = nn.Linear(*sizes[:2], **settings)
    else:
        layer = call.layer(*sizes, **_geometry(call), **settings)  # type: ignore[arg-type,misc]
    weight = map_.weight() if exact else map_.rounded_weight()
    layer.weight = nn.Parameter(tensor_like(weight, like), requires_grad=False)
    if map_.bias is not None:
        layer.bias = nn.Parameter(tensor_like(map_.bias, like), requires_grad=False)
    return layer.train(training)


def _geometry(call: LayerCall) -> dict[str, Any]:
    geometry: dict[str, Any] = {
        "stride": call.stride,
        "padding": call.padding,
        "padding_mode": call.padding_mode,
        "dilation": call.dilation,
        "groups": call.map.groups,
    }
    if call.map.kind == "conv_transpose":
        geometry["output_padding"] = call.output_padding
    elif call.map.padding != call.zero_padding:
        assert call.map.padding is not None, "a rule states what it pads"
        geometry["padding"] = tuple(before for before, _ in call.map.padding)
        assert all(b == a for b, a in call.map.padding), "a rule pads both sides alike"
    return geometry


def _convolution(
    call: Call, constants: Constants, layer: type[Layer], like: torch.Tensor
) -> LayerCall | str:
    dims = like.dim() - 2
    transposed = layer in TRANSPOSED
    given = {
        name: call.setting(name, default)
        for name, default in (("stride", 1), ("padding", 0), ("dilation", 1))
    }
    if transposed:
        given["output_padding"] = call.setting("output_padding", 0)
    if any(isinstance(size, fx.Node) for value in given.values() for size in _flat(value)):
        return f"{call.kind} with a geometry computed while it runs"
    sizes = {name: _per_axis(value, dims) for name, value in given.items()}
    mode = call.setting("padding_mode", "zeros")
    zeros = mode == "zeros" and not transposed
    padding = _padding(sizes["padding"], sizes["dilation"], like.shape[2:]) if zeros else None
    map_ = _linear_map(call, constants, "conv_transpose" if transposed else "conv")
    map_.groups = call.setting("groups", 1)
    map_.strides, map_.dilations = sizes["stride"], sizes["dilation"]
    map_.padding = padding
    map_.pads = padding is not None and any(size for pair in padding for size in pair)
    return LayerCall(layer, map_, like, **sizes, padding_mode=mode, zero_padding=padding)


def _linear_map(call: Call, constants: Constants, kind: Kind) -> LinearMap:
    weight, bias = call.setting("weight"), call.setting("bias")
    if isinstance(bias, fx.Node):
        bias = constants.tensor(bias)
    like = constants.like(weight) if isinstance(weight, fx.Node) else weight
    return LinearMap(
        kind,
        lambda: _weight(call.module, weight, constants),
        numpy_dtype(like.dtype),
        tuple(like.shape),
        None if bias is None else float64(bias),
        locked=None if call.module is None else _why_locked(call.name, call.module),
    )


def _weight(
    module: nn.Module | None, weight: fx.Node | torch.Tensor, constants: Constants
) -> NDArray[np.floating]:
    """Read the weights; those that are computed from parameters are in float64."""
    normalized = None if module is None else normalized_weight(module)
    if normalized is not None:
        return float64(normalized)
    return in_own_dtype(constants.tensor(weight) if isinstance(weight, fx.Node) else weight)


def _why_locked(name: str, module: nn.Module) -> str | None:
    if user_hooks(module):
        return f"a forward hook on {name} would see other values; remove it first"
    if parametrize.is_parametrized(module) and (
        normalized_weight(module) is None or len(module.parametrizations) > 1  # type: ignore[arg-type]
    ):
        return (
            f"{name} is parametrized; bake that in first with "
            "torch.nn.utils.parametrize.remove_parametrizations"
        )
    return None


def _flat(value: object) -> tuple[object, ...]:
    return tuple(value) if isinstance(value, tuple | list) else (value,)


def _per_axis(value: int | str | tuple[int, ...], dims: int) -> Any:
    if isinstance(value, str):
        return value
    sizes = _flat(value)
    return sizes * dims if len(sizes) == 1 else sizes


def _padding(
    padding: tuple[int, ...] | str, dilation: tuple[int, ...], kernel: tuple[int, ...]
) -> tuple[tuple[int, int], ...]:
    """Return (before, after) for each axis; `same` puts the odd one last."""
    if padding == "valid":
        return ((0, 0),) * len(kernel)
    if padding == "same":
        totals = [d * (k - 1) for d, k in zip(dilation, kernel, strict=True)]
        return tuple((total // 2, total - total // 2) for total in totals)
    assert not isinstance(padding, str), "torch knows no other word"
    return tuple((size, size) for size in padding)


def normalized_weight(module: nn.Module) -> torch.Tensor | None:
    """Return a layer's weight in float64 if it has weight norm and nothing else on it."""
    stored = _parametrized(module) or _hooked(module)
    if stored is None:
        return None
    length, direction, dim = stored
    with torch.no_grad():
        return torch._weight_norm(direction.cpu().double(), length.cpu().double(), dim)


def _parametrized(module: nn.Module) -> tuple[torch.Tensor, torch.Tensor, int] | None:
    """Return g, v and the axis that is kept, of `torch.nn.utils.parametrizations.weight_norm`."""
    if not parametrize.is_parametrized(module, "weight"):
        return None
    steps = module.parametrizations.weight  # type: ignore[union-attr] # is_parametrized says so
    if len(steps) != 1 or not isinstance(steps[0], _WeightNorm):  # type: ignore[arg-type,index]
        return None
    return steps.original0, steps.original1, steps[0].dim  # type: ignore[union-attr,index,return-value]


def _hooked(module: nn.Module) -> tuple[torch.Tensor, torch.Tensor, int] | None:
    """Return the same of `torch.nn.utils.weight_norm`."""
    for hook in module._forward_pre_hooks.values():
        if isinstance(hook, WeightNorm) and hook.name == "weight":
            return module.weight_g, module.weight_v, hook.dim  # type: ignore[return-value]
    return None
