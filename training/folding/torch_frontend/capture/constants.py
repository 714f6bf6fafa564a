"""Parts of a traced network that do not depend on its input, or on its shape only.

What a network computes from its parameters alone, as the frozen batch norms of detection networks
do, is evaluated in float64. What it reads of a tensor's shape is no use of the tensor's numbers.
"""

from __future__ import annotations

import operator
from typing import Any

import torch
from torch import fx
from torch.nn import functional

from training.folding.torch_frontend.capture.observation import Observations
from training.folding.torch_frontend.capture.precision import InFloat64

_PURE_METHODS = frozenset(
    """
    abs add clone contiguous detach div double expand flatten float mul neg pow reciprocal
    reshape reshape_as round rsqrt sqrt square squeeze sub t to transpose permute type_as unsqueeze
    view view_as
    """.split()  # noqa: SIM905 - one name a line would be a page
)
_PURE_FUNCTIONS = frozenset(
    {
        *(getattr(torch, name) for name in _PURE_METHODS if hasattr(torch, name)),
        *(getattr(operator, name) for name in ("add", "sub", "mul", "truediv", "neg", "pow")),
        operator.getitem,
        torch.exp,
        torch.batch_norm,
        functional.batch_norm,  # of weights, as weight standardization is written
    }
)
_SHAPE_METHODS = frozenset({"size", "dim", "ndimension", "numel", "nelement", "get_device"})
_SHAPE_ATTRIBUTES = frozenset({"shape", "ndim", "dtype", "device", "is_cuda"})


class Constants:
    """Which nodes are constant, and what they are."""

    def __init__(self, traced: fx.GraphModule, seen: Observations) -> None:
        self._seen = seen
        self._stored = {
            node: attribute(traced, str(node.target))
            for node in traced.graph.nodes
            if node.op == "get_attr" and node in seen.shapes
        }
        self._types = {  # what a constant is brought to
            node
            for node in traced.graph.nodes
            if node.op == "call_function"
            and node.target is getattr
            and node.args[1] in ("dtype", "device")
        }
        self._values: dict[fx.Node, Any] = {}
        self._constant: set[fx.Node] = set()
        self._shapes: set[fx.Node] = set()
        for node in traced.graph.nodes:
            if self._is_constant(node):
                self._constant.add(node)
            elif self._is_of_shape(node):
                self._shapes.add(node)

    def __contains__(self, node: object) -> bool:
        """Return whether a node does not depend on the input."""
        return node in self._constant

    def of_shape(self, node: fx.Node) -> bool:
        """Return whether a node depends on its inputs' shapes and types only."""
        return node in self._shapes

    def is_value(self, node: fx.Node) -> bool:
        """Return whether a node depends on the numbers of the input."""
        return node not in self._constant and node not in self._shapes

    def roots(self, node: fx.Node) -> set[fx.Node]:
        """Return the parameters and buffers that a constant is computed from."""
        if node.op == "get_attr":
            return {node}
        if node in self._types:
            return set()
        return {root for source in node.all_input_nodes for root in self.roots(source)}

    def readers(self, node: fx.Node) -> set[fx.Node]:
        """Return the nodes that use a constant together with the input."""
        return {
            reader
            for user in node.users
            for reader in (self.readers(user) if user in self._constant else {user})
        }

    def tensor(self, node: fx.Node) -> torch.Tensor:
        """Return a constant as it is in the network where it is a parameter, else in float64."""
        if node.op == "get_attr":
            return self._stored[node]
        value = self._evaluate(node)
        assert isinstance(value, torch.Tensor), "observed to be a tensor"
        return value

    def like(self, node: fx.Node) -> torch.Tensor:
        """Return a tensor of a constant's shape, type and device, whatever its numbers."""
        (root, *_) = self.roots(node)
        device = self._stored[root].device
        empty = torch.empty((), dtype=self._seen.dtypes[node], device=device)
        return empty.expand(self._seen.shapes[node])

    def _evaluate(self, node: fx.Node) -> Any:
        if node not in self._values:
            self._values[node] = self._compute(node)
        return self._values[node]

    @torch.no_grad()
    def _compute(self, node: fx.Node) -> Any:
        if node.op == "get_attr":
            tensor = self._stored[node].detach().cpu()
            return tensor.double() if tensor.is_floating_point() else tensor
        if node in self._types:
            return torch.float64 if node.args[1] == "dtype" else torch.device("cpu")
        args, kwargs = fx.node.map_arg((node.args, dict(node.kwargs)), self._evaluate)
        with InFloat64():
            if node.op == "call_method":
                return getattr(args[0], str(node.target))(*args[1:], **kwargs)
            assert callable(node.target), "only pure functions are constant"
            return node.target(*args, **kwargs)

    def _is_constant(self, node: fx.Node) -> bool:
        if node in self._seen.mutated:
            return False
        if node.op == "get_attr":
            return node in self._stored
        pure = (node.op == "call_method" and node.target in _PURE_METHODS) or (
            node.op == "call_function" and node.target in _PURE_FUNCTIONS
        )
        sources = [source for source in node.all_input_nodes if source not in self._types]
        return pure and bool(sources) and all(source in self._constant for source in sources)

    def _is_of_shape(self, node: fx.Node) -> bool:
        if node in self._seen.shapes or node.op in ("placeholder", "get_attr", "output"):
            return False
        if node.op == "call_method" and node.target in _SHAPE_METHODS:
            return True
        if node.op == "call_function" and node.target is getattr:
            return node.args[1] in _SHAPE_ATTRIBUTES
        sources = node.all_input_nodes
        return bool(sources) and all(
            source in self._shapes or source in self._constant for source in sources
        )


def attribute(traced: fx.GraphModule, path: str) -> torch.Tensor:
    """Return a parameter or buffer by its path."""
    owner, _, name = path.rpartition(".")
    value = getattr(traced.get_submodule(owner), name)
    assert isinstance(value, torch.Tensor), "observed to be a tensor"
    return value
