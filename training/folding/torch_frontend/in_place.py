"""Folding into a network itself: its class, methods and hooks stay, its weights change.

Only what other weights can do is done. Layers get weights and a bias, batch norms become
identities, or what else their forward did. Constants in the network's code, borders of their own
and layers that become one would need other code, so batch norms that need those stay.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from training.folding.engine import planner
from training.folding.engine.graph import Affine, Linear, Node, Pad, Same, Value
from training.folding.torch_frontend.arrays import tensor_like
from training.folding.torch_frontend.calls import Call
from training.folding.torch_frontend.capture import Captured
from training.folding.torch_frontend.capture.remainder import Builder, remainder
from training.folding.torch_frontend.folded_network import NormRow, rows_of, unlisted
from training.folding.torch_frontend.layers import layer_home, normalized_weight
from training.folding.torch_frontend.norms import gamma_and_beta, keeps_statistics
from training.folding.torch_frontend.view import View, view_of

Numbers = Callable[[], NDArray[np.float64]]


@dataclass(frozen=True, eq=False)
class Change:
    """What folding in place does to a network, and to any copy of it.

    Attributes:
        rows: what becomes of every batch norm.
        numbers: path of each parameter that changes, or is new -> returns what it is to be.
        gone: path of each batch norm that goes -> what makes what takes its place.
    """

    rows: tuple[NormRow, ...]
    numbers: dict[str, Numbers]
    gone: dict[str, Builder]

    def apply(self, network: nn.Module) -> None:
        """Change a network; numbers are rounded once, to the type that it has."""
        new = {path: _parameter(network, path, read()) for path, read in self.numbers.items()}
        parts = {network.get_submodule(path): make for path, make in self.gone.items()}
        places = {part: make(part).train(part.training) for part, make in parts.items()}
        for path, parameter in new.items():
            owner, _, name = path.rpartition(".")
            setattr(network.get_submodule(owner), name, parameter)
        for parent in list(network.modules()):
            for name, child in parent._modules.items():
                if child in places:
                    parent._modules[name] = places[child]


def change_in_place(captured: Captured) -> Change:
    """Return how to fold a captured network in place; nothing is changed yet."""
    copied = {row.norm.name: row for row in _planned(view_of(captured, clones=False))}
    locked: dict[str, str] = {}
    while True:
        view = view_of(captured, clones=False)
        gone = _confine(view, captured, locked)
        rows = _planned(view)
        refused = dict(_refused(view, rows))
        if not refused:
            break
        locked |= refused
    folded = {row.norm.name for row in rows if row.folded}
    return Change(
        (*(_explained(row, copied[row.norm.name]) for row in rows), *unlisted(captured, view)),
        dict(_numbers(view, captured.original)),
        {path: make for path, make in gone.items() if path in folded},
    )


def _planned(view: View) -> list[NormRow]:
    return [row for row in rows_of(planner.fold(view.graph), view) if row.is_norm]


def _confine(view: View, captured: Captured, locked: dict[str, str]) -> dict[str, Builder]:
    """Lock all that other weights cannot do; return what takes the place of each batch norm.

    `locked` names batch norms that must stay, and why.
    """
    gone: dict[str, Builder] = {}
    for node in list(view.graph.nodes):
        operation = node.operation
        if isinstance(operation, Affine):
            name = operation.norms[0].name if operation.norms else node.name
            make = _remainder(view, captured, node) if operation.norms else None
            if make is None:
                operation.locked = operation.locked or "it is part of the network's code"
            else:
                gone[name] = make
                operation.locked = operation.locked or locked.get(name)
        elif isinstance(operation, Linear):
            call, map_ = view.calls[node], operation.map
            map_.locked = map_.locked or _why_fixed(call, captured.original)
            map_.padding = None  # a border of its own would be a new module
            _stand_alone(view, node)
        elif isinstance(operation, Pad):
            operation.padding = None
    return gone


def _remainder(view: View, captured: Captured, node: Node) -> Builder | None:
    """Return what makes what a batch norm's module does besides, None where it has no module."""
    call = view.calls[node]
    if call.module is not None:
        return lambda module: nn.Identity()
    chain = view.chains.get(node)
    nodes = chain.nodes if chain is not None else (call.node,)
    module = dict(captured.original.named_modules()).get(call.name)
    if module is None:
        return None
    if not keeps_statistics(module) and (chain is None or any(module.children())):
        return None
    if len(inspect.signature(module.forward).parameters) != 1:
        return None
    return remainder(captured.traced, view.constants, call.name, nodes)


def _why_fixed(call: Call, original: nn.Module) -> str | None:
    """Return why a layer cannot get other weights and a bias where it is, None where it can."""
    if layer_home(call, original) is None:
        return f"the weights of {call.name} are used by code that has no place for a bias"
    if call.module is not None and normalized_weight(call.module) is not None:
        return f"{call.name} has weight norm; bake that in first with remove_parametrizations"
    return None


def _stand_alone(view: View, node: Node) -> None:
    """Let no other layer become one with this one, by giving it an input of its own.

    Layers that read different tensors read the same one once a batch norm between is gone.
    """
    (source,) = node.inputs
    own = Value(f"{node.name}_input", source.shape, consumers=[node])
    before = Node(own.name, Same(), [source], [own])
    own.producer = before
    source.consumers[source.consumers.index(node)] = before
    node.inputs = [own]
    view.graph.nodes.insert(view.graph.nodes.index(node), before)


def _refused(view: View, rows: list[NormRow]) -> Iterator[tuple[str, str]]:
    """Yield the batch norms that went where they cannot stay, and why."""
    kept = {row.norm.name for row in rows if not row.folded}
    for node in view.graph.bypassed:
        operation = node.operation
        if isinstance(operation, Affine) and operation.norms[0].name in kept:
            yield operation.norms[0].name, "its other call cannot be folded"
    for node in view.graph.nodes:
        operation, host = node.operation, view.calls.get(node)
        if isinstance(operation, Affine) and operation.changed and not _has_gamma(host):
            for norm in operation.norms[1:]:
                yield norm.name, f"{node.name} has no place for it"


def _has_gamma(host: Call | None) -> bool:
    """Return whether a batch norm is a module with parameters."""
    return host is not None and getattr(host.module, "weight", None) is not None


def _explained(row: NormRow, copied: NormRow) -> NormRow:
    """Return a row that says where a batch norm would go in a copy, if it stays here."""
    if row.folded or not copied.folded:
        return row
    into = ", ".join(copied.into)
    return replace(row, reason=f"in place only weights change; a copy has it in {into}")


def _numbers(view: View, original: nn.Module) -> Iterator[tuple[str, Numbers]]:
    """Yield the parameters that change."""
    for node in view.graph.nodes:
        operation = node.operation
        if isinstance(operation, Linear) and operation.map.changed:
            home = layer_home(view.calls[node], original)
            assert home is not None, "others are locked"
            yield home[0], operation.map.weight
            if operation.map.bias is not None:
                yield home[1], partial(np.copy, operation.map.bias)
        elif isinstance(operation, Affine) and view.maps[node] is not operation.map:
            call = view.calls[node]
            gamma, beta = gamma_and_beta(call, view.constants, operation.map)
            yield f"{call.name}.weight", partial(np.copy, gamma)
            yield f"{call.name}.bias", partial(np.copy, beta)


def _parameter(network: nn.Module, path: str, numbers: NDArray[np.float64]) -> nn.Parameter:
    """Return the parameter at a path with other numbers; a new one is like the weights beside."""
    owner, _, name = path.rpartition(".")
    module = network.get_submodule(owner)
    like = getattr(module, name, None)
    if like is None:
        like = module.weight
    assert isinstance(like, torch.Tensor), "a layer has weights"
    return nn.Parameter(tensor_like(numbers, like), requires_grad=like.requires_grad)
