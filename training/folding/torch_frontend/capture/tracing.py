"""From a torch network to the graph of its operations, by torch.fx.

Layers that folding knows stay whole, and so does every module that must not be looked into: one
with a hook, which sees or changes what goes in or out, and a batch norm that normalizes by the
batch it sees. All others are replaced by what their forward does; so is a batch norm with a forward
of its own, which may drop units and apply an activation as well.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from torch import fx, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.utils.weight_norm import WeightNorm

from training.errors import FoldError

BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm)
_HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
_ROOT_HOOKS = (
    *_HOOKS,
    "_forward_hooks_with_kwargs",
    "_forward_hooks_always_called",
    "_forward_pre_hooks_with_kwargs",
)
Reasons = dict[type[nn.Module], str]


class _Proxy(fx.Proxy):
    """Writes down that `x += y` works in place, which fx takes for `x = x + y`."""


def _in_place(function: Callable[..., object]) -> Callable[[_Proxy, object], fx.Proxy]:
    def record(self: _Proxy, other: object) -> fx.Proxy:
        return self.tracer.create_proxy("call_function", function, (self, other), {})

    return record


for _name in ("iadd", "isub", "imul", "itruediv", "ipow", "ifloordiv", "imod"):
    setattr(_Proxy, f"__{_name}__", _in_place(getattr(operator, _name)))


class _Tracer(fx.Tracer):
    """Keeps whole what folding knows or must not touch.

    Attributes:
        whole: classes that stay whole as well -> why they cannot be traced.
        failed: the innermost module whose forward could not be traced.
    """

    proxy_buffer_attributes = True

    def __init__(self, whole: Reasons) -> None:
        super().__init__()
        self.whole = whole
        self.failed: nn.Module | None = None

    def proxy(self, node: fx.Node) -> fx.Proxy:
        """Return what stands for a node's result while the network's code runs."""
        return _Proxy(node, self)

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        """Return whether a module is one operation of the graph."""
        if user_hooks(m) or type(m) in self.whole:
            return True
        if isinstance(m, _BatchNorm):
            return m.training or not has_own_forward(m)
        if isinstance(m, nn.Sequential | nn.ModuleList | nn.ModuleDict):
            return False
        return any(m.__module__.startswith(f"torch.{part}.") for part in ("nn", "ao")) or (
            _inherits_all(m)
        )

    def call_module(
        self,
        m: nn.Module,
        forward: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
    ) -> Any:
        """Trace a module, and note it where that fails."""
        try:
            with _any_rank(m):
                return super().call_module(m, forward, args, kwargs)
        except Exception:
            self.failed = self.failed or m
            raise


def trace(original: nn.Module, whole: Reasons) -> fx.GraphModule:
    """Return a network as a graph, which takes its layers from the network.

    Modules of the classes in `whole` are not looked into.

    Raises:
        FoldError: what it computes depends on the values of its input.
    """
    try:
        graph = _Tracer(whole).trace(original)
    except Exception as exc:  # the network's own code runs here
        raise FoldError(
            f"torch.fx cannot trace {type(original).__name__}: {first_line(exc)}"
        ) from exc
    traced = fx.GraphModule(original, graph, type(original).__name__)
    for hooks in _ROOT_HOOKS:
        setattr(traced, hooks, getattr(original, hooks))
    return traced


def untraceable(original: nn.Module) -> Reasons:
    """Return the classes whose modules must stay whole for the network to be traced, and why.

    Empty where that does not help: the network's own forward cannot be traced.
    """
    whole: Reasons = {}
    while True:
        tracer = _Tracer(whole)
        try:
            tracer.trace(original)
        except Exception as exc:  # the network's own code runs here
            if tracer.failed is None:
                return {}
            whole[type(tracer.failed)] = first_line(exc)
        else:
            return whole


def user_hooks(module: nn.Module) -> list[Callable[..., object]]:
    """Return the hooks of a module, but for that of `torch.nn.utils.weight_norm`."""
    hooks = [hook for kind in _HOOKS for hook in (getattr(module, kind) or {}).values()]
    return [hook for hook in hooks if not isinstance(hook, WeightNorm)]


def has_own_forward(norm: _BatchNorm) -> bool:
    """Return whether a batch norm may do anything else than those of torch."""
    known = {base.forward for base in BATCH_NORMS if isinstance(norm, base)}
    return type(norm).forward not in known or "forward" in vars(norm)


def first_line(error: Exception) -> str:
    """Return what an exception says, in one line."""
    return str(error).strip().partition("\n")[0] or type(error).__name__


@contextmanager
def _any_rank(module: nn.Module) -> Iterator[None]:
    """Let a batch norm's forward not ask for its input's rank, which is not known while tracing."""
    if not isinstance(module, _BatchNorm):
        yield
        return
    vars(module)["_check_input_dim"] = lambda _: None
    try:
        yield
    finally:
        del vars(module)["_check_input_dim"]


def _inherits_all(module: nn.Module) -> bool:
    """Return whether a class of the user's computes what a layer of torch does, and no more."""
    known = next(c for c in type(module).__mro__ if c.__module__.startswith("torch.nn"))
    methods = ("forward", "_conv_forward", "__call__")
    return known is not nn.Module and all(
        getattr(type(module), name, None) is getattr(known, name, None) for name in methods
    )
