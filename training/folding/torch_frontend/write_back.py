"""From the neutral graph back to the traced network."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

import torch
from torch import fx, nn
from torch.nn import functional

from training.folding.engine.graph import Affine, BorderPad, Linear, Node, Sum, Value
from training.folding.torch_frontend.arrays import tensor_like
from training.folding.torch_frontend.calls import out_of_place
from training.folding.torch_frontend.layers import new_layer
from training.folding.torch_frontend.norms import new_norm
from training.folding.torch_frontend.view import View, tensor_inputs


@dataclass(frozen=True, eq=False)
class Written:
    """The traced network as it is now.

    Attributes:
        exact: path of each layer that is new -> what returns it in float64, never rounded.
    """

    network: fx.GraphModule
    exact: dict[str, Callable[[], nn.Module]]


def write_back(view: View) -> Written:
    """Change the traced network into what the graph has become, and return it."""
    return _Writer(view).write()


class _Writer:
    def __init__(self, view: View) -> None:
        self._view = view
        self._traced = view.traced
        self._graph = view.traced.graph
        self._bypassed = set(view.graph.bypassed)
        self._at: dict[Value, fx.Node] = {value: node for node, value in view.values.items()}
        self._exact: dict[str, Callable[[], nn.Module]] = {}

    def write(self) -> Written:
        """Add what is new, connect it, remove what is gone."""
        for node in self._view.graph.nodes:
            self._add(node)
        for node in self._view.graph.nodes:
            if node in self._view.calls or node.clone_of is not None:
                self._connect(node)
        self._connect_others()
        self._remove_unused()
        self._traced.delete_all_unused_submodules()
        self._graph.lint()
        self._traced.recompile()
        return Written(self._traced, self._exact)

    def _add(self, node: Node) -> None:
        """Add the operation of a node if it is new or other than it was."""
        operation = node.operation
        if isinstance(operation, BorderPad):
            self._add_border(node, operation)
        elif node.clone_of is not None:
            self._copy(node)
        if isinstance(operation, Linear) and operation.map.changed:
            exact_layer = partial(self._layer, node, operation, exact=True)
            self._replace(node, self._layer(node, operation), exact_layer)
        elif isinstance(operation, Affine) and self._view.maps[node] is not operation.map:
            exact = self._norm(node, operation, exact=True)
            self._replace(node, self._norm(node, operation), lambda: exact)

    def _add_border(self, node: Node, operation: BorderPad) -> None:
        source = self._find(node.inputs[0])
        like = source.meta["like"]
        module = PerChannelPad(operation.padding, tensor_like(operation.values, like))
        path = self._register(node.name, module)
        values = torch.from_numpy(operation.values).to(like.device)
        self._exact[path] = partial(PerChannelPad, operation.padding, values)
        with self._graph.inserting_after(source):
            new = self._graph.call_module(path, (source,))
        new.meta["like"] = like
        self._at[node.output] = new

    def _copy(self, node: Node) -> None:
        original = self._view.calls[_original(node)].node
        with self._graph.inserting_after(original):
            self._at[node.output] = self._graph.node_copy(original)

    def _layer(self, node: Node, operation: Linear, *, exact: bool = False) -> nn.Module:
        original = _original(node)
        module = self._view.calls[original].module
        layer = replace(self._view.layers[original], map=operation.map)
        return new_layer(layer, training=module is not None and module.training, exact=exact)

    def _norm(self, node: Node, operation: Affine, *, exact: bool = False) -> nn.Module:
        assert node.output.rank is not None, "observed"
        call = self._view.calls[node]
        constants, rank = self._view.constants, node.output.rank
        return new_norm(call, constants, operation.map, rank, exact=exact)

    def _replace(self, node: Node, module: nn.Module, exact: Callable[[], nn.Module]) -> None:
        """Let a node call another module, in the place of its own if nothing else uses that."""
        call = self._view.calls[_original(node)]
        old = self._at[node.output]
        path = call.name if node.clone_of is None else node.name
        if call.module is not None and node.clone_of is None and self._is_private(old):
            self._traced.add_submodule(path, module)
            self._exact[path] = exact
            old.target = path
            return
        path = self._register(path, module)
        self._exact[path] = exact
        with self._graph.inserting_before(old):
            new = self._graph.call_module(path, old.args, old.kwargs)
        if call.module is None:
            new.args, new.kwargs = (tensor_inputs(old, self._view.constants)[0],), {}
        new.meta = dict(old.meta)
        old.replace_all_uses_with(new)
        self._graph.erase_node(old)
        self._at[node.output] = new

    def _is_private(self, node: fx.Node) -> bool:
        """Return whether nothing else in the network uses the module that a node calls."""
        own = f"{node.target}."
        return not any(
            own.startswith(f"{other.target}.") or str(other.target).startswith(own)
            for other in self._graph.nodes
            if other is not node and other.op in ("call_module", "get_attr")
        )

    def _register(self, path: str, module: nn.Module) -> str:
        """Add a module to the network under a free name like this; return the name."""
        taken = {name for name, _ in self._traced.named_modules()}
        numbered = (f"{path}_{number}" for number in itertools.count(2))
        names = (name for name in itertools.chain([path], numbered) if name not in taken)
        free = next(name for name in names if not hasattr(self._traced, name))
        self._traced.add_submodule(free, module)
        return free

    def _connect(self, node: Node) -> None:
        """Let a node read what it reads now."""
        inputs = iter([self._find(value) for value in node.inputs])
        at = self._at[node.output]
        chain = self._view.chains.get(node)
        steps = chain.nodes if chain is not None and at is chain.nodes[-1] else (at,)
        steps[0].args, steps[0].kwargs = fx.node.map_arg(
            (steps[0].args, steps[0].kwargs),
            lambda source: next(inputs) if self._view.constants.is_value(source) else source,
        )
        assert next(inputs, None) is None, "a node reads as much as before, or it is gone"
        if isinstance(node.operation, Sum | Affine):
            for step in steps:
                step.target = out_of_place(step)

    def _connect_others(self) -> None:
        """Let the output, and what reads only shapes, read the same numbers from where they are."""
        values = {at: value for value, at in self._at.items()}
        for node in self._graph.nodes:
            if node.op == "output" or self._view.constants.of_shape(node):
                node.args, node.kwargs = fx.node.map_arg(
                    (node.args, node.kwargs),
                    lambda one: self._find(values[one]) if one in values else one,
                )

    def _find(self, value: Value) -> fx.Node:
        """Return where a value is now."""
        while value.producer in self._bypassed:
            (value,) = value.producer.inputs
        return self._at[value]

    def _remove_unused(self) -> None:
        gone = {node.output for node in (*self._view.graph.bypassed, *self._view.graph.removed)}
        gone_at = {self._at[value] for value in gone if value in self._at}
        gone_at |= {step for chain in self._view.chains.values() for step in chain.nodes}
        for node in reversed(list(self._graph.nodes)):
            if not node.users and (node in gone_at or not self._view.constants.is_value(node)):
                self._graph.erase_node(node)


def _original(node: Node) -> Node:
    return node if node.clone_of is None else _original(node.clone_of)


class PerChannelPad(nn.Module):
    """Pad the axes after the channels with a value per channel: (N, C, *S) to (N, C, *S').

    A map s x + t in front of a layer that pads with zeros folds into the layer if the border holds
    -t / s instead, which the map sends to zero. For any size:

        y = pad(x, 0) + value * (1 - pad(1, 0))

    where one of the two terms is zero at every place, so that nothing is rounded.
    """

    values: torch.Tensor

    def __init__(self, padding: tuple[tuple[int, int], ...], values: torch.Tensor) -> None:
        super().__init__()
        self.padding = tuple(size for pair in reversed(padding) for size in pair)
        shape = (1, -1, *(1 for _ in padding))
        self.register_buffer("values", values.reshape(shape))  # (1, C, 1, ...)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return x with its border."""
        inside = functional.pad(torch.ones_like(x[:1, :1]), self.padding)  # (1, 1, *S')
        return functional.pad(x, self.padding) + self.values * (1 - inside)

    def extra_repr(self) -> str:
        """Say what is padded."""
        return f"{self.values.numel()} channels, padding={self.padding}"
