"""From a torch network to the graph of its operations.

Layers that folding knows stay whole, and so does every module that must not be looked into: one
with a hook, which sees or changes what goes in or out, and a batch norm with a forward of its own.
All others are replaced by what their forward does.
"""

from __future__ import annotations

import copy
import operator
from collections.abc import Callable

import torch
from torch import fx, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.parameter import is_lazy
from torch.nn.utils.weight_norm import WeightNorm

from training.errors import FoldError

REMEDY = "export it to ONNX, which needs no tracing of Python, and fold that: foldnorm fold MODEL"
_HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
_ROOT_HOOKS = (
    *_HOOKS,
    "_forward_hooks_with_kwargs",
    "_forward_hooks_always_called",
    "_forward_pre_hooks_with_kwargs",
)


class _Proxy(fx.Proxy):
    """Writes down that `x += y` works in place, which fx takes for `x = x + y`."""


def _in_place(function: Callable[..., object]) -> Callable[[_Proxy, object], fx.Proxy]:
    def record(self: _Proxy, other: object) -> fx.Proxy:
        return self.tracer.create_proxy("call_function", function, (self, other), {})

    return record


for _name in ("iadd", "isub", "imul", "itruediv", "ipow", "ifloordiv", "imod"):
    setattr(_Proxy, f"__{_name}__", _in_place(getattr(operator, _name)))


class _Tracer(fx.Tracer):
    """Keeps whole what folding knows or must not touch."""

    proxy_buffer_attributes = True

    def proxy(self, node: fx.Node) -> fx.Proxy:
        """Return what stands for a node's result while the network's code runs."""
        return _Proxy(node, self)

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        """Return whether a module is one operation of the graph."""
        if isinstance(m, _BatchNorm) or user_hooks(m):
            return True
        if isinstance(m, nn.Sequential | nn.ModuleList | nn.ModuleDict):
            return False
        return any(m.__module__.startswith(f"torch.{part}.") for part in ("nn", "ao")) or (
            _inherits_all(m)
        )


def trace(network: nn.Module) -> tuple[fx.GraphModule, nn.Module]:
    """Return the network as a graph, and the copy of it that the graph takes its layers from.

    Raises:
        FoldError: what it computes depends on the values of its input, or is not settled yet.
    """
    _check_initialized(network)
    try:
        original = copy.deepcopy(network, _detached(network))
        graph = _Tracer().trace(original)
    except Exception as exc:  # the network's own code runs here
        raise FoldError(
            f"torch.fx cannot trace {type(network).__name__}: {_first_line(exc)}; {REMEDY}"
        ) from exc
    traced = fx.GraphModule(original, graph, type(network).__name__)
    for hooks in _ROOT_HOOKS:
        setattr(traced, hooks, getattr(original, hooks))
    return traced, original


def user_hooks(module: nn.Module) -> list[Callable[..., object]]:
    """Return the hooks of a module, but for that of `torch.nn.utils.weight_norm`."""
    hooks = [hook for kind in _HOOKS for hook in (getattr(module, kind) or {}).values()]
    return [hook for hook in hooks if not isinstance(hook, WeightNorm)]


def _check_initialized(network: nn.Module) -> None:
    """Refuse lazy layers, whose size only data shows."""
    tensors = (*network.named_parameters(), *network.named_buffers())
    waiting = next((name for name, tensor in tensors if is_lazy(tensor)), None)
    if waiting is not None:
        raise FoldError(
            f"{waiting} is not initialized: its layer has seen no data yet; train the network, or "
            "load its weights, first"
        )


def _detached(network: nn.Module) -> dict[int, object]:
    """Return what `deepcopy` refuses to copy: tensors that carry the history of their making."""
    tensors = [
        value
        for module in network.modules()
        for value in vars(module).values()
        if isinstance(value, torch.Tensor) and not value.is_leaf
    ]
    return {id(tensor): tensor.detach().clone() for tensor in tensors}


def _inherits_all(module: nn.Module) -> bool:
    """Return whether a class of the user's computes what a layer of torch does, and no more."""
    known = next(c for c in type(module).__mro__ if c.__module__.startswith("torch.nn"))
    methods = ("forward", "_conv_forward", "__call__")
    return known is not nn.Module and all(
        getattr(type(module), name, None) is getattr(known, name, None) for name in methods
    )


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0] or type(error).__name__
