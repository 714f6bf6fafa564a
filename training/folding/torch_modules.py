"""Folding in torch networks: Conv1d/2d/3d or Linear followed by batch norm.

The network is traced with torch.fx. Every batch norm in it gets a row in the report: folded into
which layer, or kept and why. Nothing is folded approximately.
"""

from __future__ import annotations

import copy
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import fx, nn
from torch.fx.passes.shape_prop import ShapeProp

from models.manifest import FoldedLayer
from training.folding.algebra import BatchNormStats, FoldRefused, fold_linear_map, fold_scale

if TYPE_CHECKING:
    from numpy.typing import NDArray

BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)
CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)


@dataclass(frozen=True)
class FoldedNetwork:
    """A network with its batch norms folded, and what became of each."""

    network: fx.GraphModule
    layers: tuple[FoldedLayer, ...]


@dataclass(frozen=True)
class _Pair:
    """A batch norm that passed every check, and the layer that takes it up."""

    norm_node: fx.Node
    layer_node: fx.Node


@torch.no_grad()
def fold_batch_norms(network: nn.Module, example: torch.Tensor) -> FoldedNetwork:
    """Return a copy of the network with every foldable batch norm folded.

    `example` is any valid input; the layers' output ranks are read off one pass of it, which does
    not move any statistics. Weights are folded in float64 and rounded once, to the dtype they had.
    """
    traced = fx.symbolic_trace(copy.deepcopy(network))
    _propagate_shapes(traced, example)
    norms = [node for node in traced.graph.nodes if _is_batch_norm(traced, node)]
    layers = tuple(_fold_one(traced, node) for node in norms)
    traced.delete_all_unused_submodules()
    traced.recompile()
    return FoldedNetwork(traced, layers)


def _propagate_shapes(traced: fx.GraphModule, example: torch.Tensor) -> None:
    """Write each node's shape into its `meta`; in inference mode, whatever mode each module has."""
    modes = {module: module.training for module in traced.modules()}
    traced.eval()
    ShapeProp(traced).propagate(example)
    for module, training in modes.items():
        module.training = training


def _is_batch_norm(traced: fx.GraphModule, node: fx.Node) -> bool:
    return node.op == "call_module" and isinstance(
        traced.get_submodule(str(node.target)), nn.modules.batchnorm._BatchNorm
    )


def _fold_one(traced: fx.GraphModule, node: fx.Node) -> FoldedLayer:
    """Check one batch norm, fold it if nothing speaks against it, and report."""
    norm = traced.get_submodule(str(node.target))
    channels = int(norm.num_features)  # type: ignore[arg-type]
    try:
        pair = _check(traced, node)
        scale = _rewrite(traced, pair)
    except FoldRefused as refusal:
        return FoldedLayer(str(node.target), channels, None, str(refusal), None)
    return FoldedLayer(str(node.target), channels, str(pair.layer_node.target), None, scale)


def _check(traced: fx.GraphModule, node: fx.Node) -> _Pair:
    """Return the pair that this batch norm forms with the layer before it, or refuse."""
    norm = traced.get_submodule(str(node.target))
    _check_norm(norm)
    source = node.all_input_nodes[0]
    if source.op != "call_module":
        raise FoldRefused("its input is not the output of a layer")
    layer = traced.get_submodule(str(source.target))
    if type(layer) not in (*CONVOLUTIONS, nn.Linear):  # a subclass may do more with its weight
        raise FoldRefused(f"its input comes from {type(layer).__name__}, not from a linear layer")
    calls = Counter(str(n.target) for n in traced.graph.nodes if n.op == "call_module")
    if calls[str(source.target)] > 1:
        raise FoldRefused(f"{source.target} is called {calls[str(source.target)]} times")
    _check_weights_unshared(traced, str(source.target), layer)
    if len(source.users) > 1:
        raise FoldRefused(f"the output of {source.target} has {len(source.users)} consumers")
    if isinstance(layer, nn.Linear) and source.meta["tensor_meta"].shape[1:].numel() != (
        layer.out_features
    ):
        raise FoldRefused(
            f"{source.target} acts on the last axis of a tensor of rank "
            f"{len(source.meta['tensor_meta'].shape)}, the batch norm on the second"
        )
    _check_unhooked(str(source.target), layer)
    _check_unhooked(str(node.target), norm)
    return _Pair(node, source)


def _check_weights_unshared(traced: fx.GraphModule, name: str, layer: nn.Module) -> None:
    """Refuse a layer whose weight or bias anything else reads, by its name or as its own."""
    own = {id(parameter) for parameter in layer.parameters()}
    for node in traced.graph.nodes:
        if node.op == "get_attr" and str(node.target).startswith(f"{name}."):
            raise FoldRefused(f"{node.target} is also used by itself")
    for other, parameter in traced.named_parameters(remove_duplicate=False):
        if id(parameter) in own and other.rpartition(".")[0] != name:
            raise FoldRefused(f"{name} shares a parameter with {other}")


def _check_norm(norm: nn.Module) -> None:
    if type(norm) not in BATCH_NORMS:
        raise FoldRefused(f"{type(norm).__name__} is not one of the plain batch norms")
    if norm.training:
        raise FoldRefused("it is in training mode; call eval() first")
    if norm.running_mean is None or norm.running_var is None:
        raise FoldRefused("it keeps no running statistics; recalibrate it first")


def _check_unhooked(name: str, module: nn.Module) -> None:
    if module._forward_hooks or module._forward_pre_hooks:
        raise FoldRefused(f"a forward hook on {name} would see other values")
    if torch.nn.utils.parametrize.is_parametrized(module):
        raise FoldRefused(f"{name} is parametrized; bake the parametrization in first")


def _rewrite(traced: fx.GraphModule, pair: _Pair) -> float:
    """Fold the pair and return its largest absolute scale."""
    layer = traced.get_submodule(str(pair.layer_node.target))
    norm = traced.get_submodule(str(pair.norm_node.target))
    assert isinstance(layer, (*CONVOLUTIONS, nn.Linear)), "checked before"
    assert isinstance(norm, BATCH_NORMS), "checked before"
    stats = batch_norm_stats(norm)
    bias = None if layer.bias is None else _float64(layer.bias)
    folded_weight, folded_bias = fold_linear_map(_float64(layer.weight), bias, stats)
    weight, new_bias = (_rounded(v, layer.weight) for v in (folded_weight, folded_bias))
    layer.weight, layer.bias = nn.Parameter(weight, False), nn.Parameter(new_bias, False)
    pair.norm_node.replace_all_uses_with(pair.layer_node)
    traced.graph.erase_node(pair.norm_node)
    return float(np.abs(fold_scale(stats)[0]).max())


def batch_norm_stats(norm: nn.BatchNorm1d | nn.BatchNorm2d | nn.BatchNorm3d) -> BatchNormStats:
    """Return a module's statistics in float64; without affine parameters gamma is 1 and beta 0."""
    assert norm.running_mean is not None, "checked before"
    assert norm.running_var is not None, "checked before"
    ones = np.ones(norm.num_features)
    return BatchNormStats(
        gamma=ones if norm.weight is None else _float64(norm.weight),
        beta=0 * ones if norm.bias is None else _float64(norm.bias),
        running_mean=_float64(norm.running_mean),
        running_var=_float64(norm.running_var),
        eps=norm.eps,
    )


def _float64(tensor: torch.Tensor) -> NDArray[np.float64]:
    return tensor.detach().cpu().double().numpy()


def _rounded(values: NDArray[np.float64], like: torch.Tensor) -> torch.Tensor:
    tensor = torch.from_numpy(values).to(dtype=like.dtype, device=like.device)
    if not tensor.isfinite().all():
        raise FoldRefused(f"folded weights up to {np.abs(values).max():.3g} overflow {like.dtype}")
    return tensor
