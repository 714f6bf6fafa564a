"""One operation of a traced network, described alike for modules, functions and methods."""

from __future__ import annotations

import inspect
import operator
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import fx, nn
from torch._ops import OpOverload
from torch.nn import functional

from training.folding.torch_frontend.capture.constants import Constants

_CONV = "input weight bias stride padding dilation groups"
_TRANSPOSED = "input weight bias stride padding output_padding groups dilation"
_MAX_POOL = "input kernel_size stride padding dilation ceil_mode return_indices"
_AVERAGE_POOL = "input kernel_size stride padding ceil_mode count_include_pad"
# Builtins and overloads do not name their parameters.
_PARAMETERS: dict[Callable[..., Any], str] = {
    functional.conv1d: _CONV,
    functional.conv2d: _CONV,
    functional.conv3d: _CONV,
    functional.conv_transpose1d: _TRANSPOSED,
    functional.conv_transpose2d: _TRANSPOSED,
    functional.conv_transpose3d: _TRANSPOSED,
    functional.linear: "input weight bias",
    torch.batch_norm: "input weight bias running_mean running_var training momentum eps",
    functional.max_pool1d: _MAX_POOL,
    functional.max_pool2d: _MAX_POOL,
    functional.max_pool3d: _MAX_POOL,
    functional.adaptive_max_pool1d: "input output_size return_indices",
    functional.adaptive_max_pool2d: "input output_size return_indices",
    functional.adaptive_max_pool3d: "input output_size return_indices",
    functional.avg_pool1d: _AVERAGE_POOL,
    functional.avg_pool2d: f"{_AVERAGE_POOL} divisor_override",
    functional.avg_pool3d: f"{_AVERAGE_POOL} divisor_override",
    functional.adaptive_avg_pool1d: "input output_size",
}
# What tells two layers, or two batch norms, from two calls of one.
_NAMING: dict[object, str] = {
    functional.batch_norm: "running_mean",
    torch.batch_norm: "running_mean",
    **{function: "weight" for function, names in _PARAMETERS.items() if "weight bias st" in names},
    functional.linear: "weight",
}
_METHODS = {
    "mean": "input dim keepdim",
    "amax": "input dim keepdim",
    "add": "input other",
    "sub": "input other",
    "mul": "input other",
    "div": "input other",
}


@dataclass(frozen=True, eq=False)
class Call:
    """A node of the traced network.

    Attributes:
        node: the node.
        module: what it calls, None for functions and methods.
        function: what it calls, None for modules; methods go by their name, without the
            underscore of those that work in place.
    """

    node: fx.Node
    module: nn.Module | None
    function: Callable[..., Any] | str | None

    @property
    def name(self) -> str:
        """What users know it by: the module's path, or the name of the node."""
        return str(self.node.meta.get("path", self.node.name))

    @property
    def kind(self) -> str:
        """What users call this operation."""
        if self.module is not None:
            return type(self.module).__name__
        if isinstance(self.function, str):
            return self.function
        if isinstance(self.function, OpOverload):
            return str(self.function._opname)
        return getattr(self.function, "__name__", str(self.function))

    def setting(self, name: str, default: Any = None) -> Any:
        """Return an argument of the function, or the attribute of the module of that name."""
        if self.module is not None:
            return getattr(self.module, name, default)
        return self.arguments.get(name, default)

    @property
    def arguments(self) -> dict[str, Any]:
        """Arguments by name; those of functions that are not known keep theirs only if named."""
        bound = dict(zip(self._parameters(), self.node.args, strict=False))
        return bound | dict(self.node.kwargs)

    def _parameters(self) -> list[str]:
        function = self.function
        if isinstance(function, str):
            return _METHODS.get(function, "input").split()
        if function in _PARAMETERS:
            return _PARAMETERS[function].split()
        try:
            return list(inspect.signature(function or len).parameters)
        except (TypeError, ValueError):
            return _METHODS.get(getattr(function, "__name__", ""), "input").split()


def call_of(traced: fx.GraphModule, node: fx.Node) -> Call:
    """Return what a node does."""
    if node.op == "call_module":
        return Call(node, traced.get_submodule(str(node.target)), None)
    if node.op == "call_method":
        return Call(node, None, str(node.target).rstrip("_"))
    assert callable(node.target), "only operations are asked for"
    return Call(node, None, node.target)


def name_calls(traced: fx.GraphModule, constants: Constants) -> None:
    """Give each layer and batch norm its module's path for a name, functions too.

    A function has that of the module whose forward calls it, if it is the only one there.
    """
    within: dict[str, dict[object, list[fx.Node]]] = {}
    for node in traced.graph.nodes:
        if node.op == "call_module":
            node.meta["path"] = node.target
        elif node.target in _NAMING and node not in constants:
            numbers = call_of(traced, node).arguments.get(_NAMING[node.target])
            key: object = node
            if isinstance(numbers, fx.Node) and numbers.op == "get_attr":
                key = numbers.target
            within.setdefault(module_path(node), {}).setdefault(key, []).append(node)
    for path, keys in within.items():
        if path and len(keys) == 1:
            for node in next(iter(keys.values())):
                node.meta["path"] = path


def module_path(node: fx.Node) -> str:
    """Return the path of the module whose forward calls a node, empty for the network itself."""
    stack = node.meta.get("nn_module_stack") or {"": ("", None)}
    return str(list(stack.values())[-1][0])


def out_of_place(node: fx.Node) -> Callable[..., Any] | str:
    """Return what computes the same as a node's function or method, and changes no operand."""
    if node.op == "call_method":
        return str(node.target).rstrip("_")
    name = getattr(node.target, "__name__", "")
    if node.op == "call_function" and node.target is getattr(operator, name, None):
        return getattr(operator, name.removeprefix("i"))  # type: ignore[no-any-return]
    return node.target
