"""ATen's operators, which torch.export writes, as the functions that users call."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import fx
from torch._ops import OpOverload
from torch.nn import functional

# Of these the arguments stand in the same order.
_FUNCTIONS: dict[str, Callable[..., Any]] = {
    name: getattr(place, name)
    for place, names in {
        torch: "batch_norm cat mean amax flatten squeeze unsqueeze reshape clone add sub mul div "
        "rsqrt sqrt exp permute transpose t reciprocal neg pow",
        functional: "linear conv1d conv2d conv3d conv_transpose1d conv_transpose2d "
        "conv_transpose3d max_pool1d max_pool2d max_pool3d avg_pool1d avg_pool2d avg_pool3d "
        "adaptive_avg_pool1d adaptive_avg_pool2d adaptive_avg_pool3d pad dropout alpha_dropout",
    }.items()
    for name in names.split()
}
_METHODS = ("view", "detach", "contiguous", "to", "type_as", "expand")
_MODES = {"nearest": "nearest", "_nearest_exact": "nearest-exact"} | {
    mode: mode for mode in ("linear", "bilinear", "bicubic", "trilinear")
}


def translate(graph: fx.Graph) -> None:
    """Let the nodes of a graph call the functions and methods that do the same."""
    for node in graph.nodes:
        if node.op == "call_function" and isinstance(node.target, OpOverload):
            _translate(node, node.target._opname, node.target._overloadname)


def _translate(node: fx.Node, name: str, overload: str) -> None:
    if name == "sym_size":
        node.op, node.target = "call_method", "size"
    elif name in _METHODS or (name.endswith("_") and name[:-1] in _FUNCTIONS):
        node.op, node.target = "call_method", name
    elif name.startswith("upsample_") and overload == "vec":
        _interpolate(node, name.removeprefix("upsample_")[:-2])
    elif name == "constant_pad_nd":
        x, sizes, *value = node.args
        node.target, node.args = functional.pad, (x, sizes, "constant", *value)
    elif name in _FUNCTIONS:
        node.target = _FUNCTIONS[name]


def _interpolate(node: fx.Node, kind: str) -> None:
    """Name the mode, which ATen has in the operator's name: upsample_bilinear2d."""
    mode = _MODES.get(kind)
    if mode is None or node.kwargs:
        return
    x, size, *options, factors = node.args
    node.target, node.args = functional.interpolate, (x, size, factors, mode)
    if options:
        node.kwargs = {"align_corners": options[0]}
