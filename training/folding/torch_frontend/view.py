"""The neutral graph of a traced network: what the rules see."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

from torch import fx, nn

from training.folding.algebra.affine import ChannelMap
from training.folding.engine.graph import (
    Affine,
    Graph,
    KeptNorm,
    Linear,
    Node,
    Norm,
    Opaque,
    Operation,
    Same,
    Value,
)
from training.folding.torch_frontend.calls import Call, call_of, name_calls
from training.folding.torch_frontend.capture import Captured
from training.folding.torch_frontend.capture.constants import Constants, attribute
from training.folding.torch_frontend.capture.observation import changed_in_place
from training.folding.torch_frontend.capture.tracing import Reasons, user_hooks
from training.folding.torch_frontend.frozen import Chain, frozen_norms
from training.folding.torch_frontend.layers import LayerCall, layer_call, layer_class
from training.folding.torch_frontend.norms import (
    is_batch_norm,
    keeps_statistics,
    norm_operation,
    number_of_channels,
)
from training.folding.torch_frontend.operations import operation_of


@dataclass(eq=False)
class View:
    """A neutral graph and where its nodes are in the traced network.

    Attributes:
        calls: what each node is there.
        layers: what is more to know of the layers.
        maps: what each batch norm applied before any rule changed it.
        chains: the steps of frozen batch norms, of which each node is the last.
        values: the result of each node of the traced network that depends on the input.
        norms: the batch norms by their name.
        uses: how often the network calls each.
    """

    traced: fx.GraphModule
    constants: Constants
    graph: Graph
    calls: dict[Node, Call] = field(default_factory=dict)
    layers: dict[Node, LayerCall] = field(default_factory=dict)
    maps: dict[Node, ChannelMap] = field(default_factory=dict)
    chains: dict[Node, Chain] = field(default_factory=dict)
    values: dict[fx.Node, Value] = field(default_factory=dict)
    norms: dict[str, Norm] = field(default_factory=dict)
    uses: Counter[Norm] = field(default_factory=Counter)


def view_of(captured: Captured, *, clones: bool) -> View:
    """Return the neutral graph of a traced network."""
    traced, seen = captured.traced, captured.seen
    constants = Constants(traced, seen)
    view = View(traced, constants, Graph(clones=clones))
    name_calls(traced, constants)
    owners = _owners(traced, constants)
    touched = changed_in_place(seen, {n: _readers(n, constants) for n in traced.graph.nodes})
    chains = {
        node: chain
        for chain in frozen_norms(traced, constants, seen)
        if not any(one in touched for one in (chain.source, *chain.nodes))
        for node in chain.nodes
    }
    for node in traced.graph.nodes:
        if node.op == "output":
            for source in node.all_input_nodes:
                if source in view.values:
                    view.values[source].is_output = True
        elif node in chains and node is not chains[node].nodes[-1]:
            continue
        elif constants.is_value(node):
            view.values[node] = Value(node.name, seen.shapes.get(node), original_name=node.name)
            if node in chains:
                _add_chain(view, node, chains[node])
            elif node.op not in ("placeholder", "get_attr"):
                _add(view, node, captured, owners, touched)
    _bypass_identities(view)
    return view


def tensor_inputs(node: fx.Node, constants: Constants) -> list[fx.Node]:
    """Return the nodes whose numbers a node reads, one entry for each use, in their order."""
    found: list[fx.Node] = []
    fx.node.map_arg((node.args, node.kwargs), found.append)
    return [source for source in found if constants.is_value(source)]


def _bypass_identities(view: View) -> None:
    """Take out what never does anything, so that it does not stand between layers and sums."""
    for node in list(view.graph.nodes):
        call = view.calls.get(node)
        if isinstance(node.operation, Same) and isinstance(call and call.module, nn.Identity):
            view.graph.bypass(node)


def _add_chain(view: View, node: fx.Node, chain: Chain) -> None:
    """Add a frozen batch norm as one operation."""
    node.meta["path"] = chain.path
    norm = _norm(view, chain.path, chain.map.scale.size)
    operation = Affine(1, chain.map, (norm,))
    new = Node(chain.path, operation, [view.values[chain.source]], [view.values[node]])
    view.graph.add(new)
    view.calls[new] = call_of(view.traced, node)
    view.maps[new] = operation.map
    view.chains[new] = chain


def _norm(view: View, name: str, channels: int) -> Norm:
    """Return the batch norm of a name, and count the call."""
    norm = view.norms.setdefault(name, Norm(name, channels))
    view.uses[norm] += 1
    return norm


def _add(
    view: View,
    node: fx.Node,
    captured: Captured,
    owners: dict[int, list[fx.Node]],
    touched: dict[fx.Node, fx.Node],
) -> None:
    call = call_of(view.traced, node)
    sources = tensor_inputs(node, view.constants)
    culprits = [touched[one] for one in (node, *sources) if one in touched]
    reason = None
    if culprits:
        reason = f"{culprits[0].name} changes {node.name} or its input in place, which others read"
    operation, layer = _operation(view, call, sources, captured, reason)
    inputs = [view.values[source] for source in sources]
    new = view.graph.add(Node(call.name, operation, inputs, [view.values[node]]))
    view.calls[new] = call
    if layer is not None:
        view.layers[new] = layer
        layer.map.shared = _sharer(view, call, owners)
        layer.map.locked = layer.map.locked or reason
    if isinstance(operation, Affine):
        view.maps[new] = operation.map
    _add_norms_within(view, call, captured.whole)


def _operation(
    view: View, call: Call, sources: list[fx.Node], captured: Captured, reason: str | None
) -> tuple[Operation, LayerCall | None]:
    """Return what a node does; where `reason` is given, none that is to be touched."""
    seen = captured.seen
    if is_batch_norm(call):
        shape = seen.shapes.get(call.node, ())
        norm = _norm(view, call.name, shape[1] if len(shape) > 1 else 0)
        operation = norm_operation(call, norm, view.constants, captured.whole)
        if isinstance(operation, Affine) and (reason or len(sources) != 1):
            reason = reason or "its parameters are computed from the input"
            return KeptNorm(norm, reason), None
        return operation, None
    if layer_class(call) is not None:
        found = layer_call(call, view.constants, len(seen.shapes.get(sources[0], ())))
        if isinstance(found, LayerCall) and len(sources) == 1:
            return Linear(found.map), found
        return Opaque(call.kind if isinstance(found, LayerCall) else found), None
    if call.module is not None and user_hooks(call.module):
        return Opaque(f"{call.kind} with a forward hook"), None
    return (Opaque(call.kind) if reason else operation_of(call, view.constants, seen)), None


def _add_norms_within(view: View, call: Call, whole: Reasons) -> None:
    """Note the batch norms inside of a module that folding does not look into."""
    if call.module is None or is_batch_norm(call):
        return
    why = "which has a forward hook" if user_hooks(call.module) else "which is not looked into"
    if type(call.module) in whole:
        why = f"which torch.fx cannot trace: {whole[type(call.module)]}"
    for path, module in call.module.named_modules(prefix=call.name):
        if keeps_statistics(module):
            norm = _norm(view, path, number_of_channels(module))
            kept = KeptNorm(norm, f"it is inside of {call.name} ({call.kind}), {why}")
            view.graph.nodes.append(Node(norm.name, kept, [], [Value(norm.name, None)]))


def _readers(node: fx.Node, constants: Constants) -> int:
    """Return how many read a node's numbers."""
    return sum(not constants.of_shape(user) for user in node.users)


def _owners(traced: fx.GraphModule, constants: Constants) -> dict[int, list[fx.Node]]:
    """Return for each parameter and buffer the nodes that use it together with the input."""
    owners: dict[int, list[fx.Node]] = {}
    for node in traced.graph.nodes:
        if node.op == "call_module":
            tensors = traced.get_submodule(str(node.target)).state_dict(keep_vars=True).values()
            for tensor in tensors:
                owners.setdefault(id(tensor), []).append(node)
        elif node.op == "get_attr" and node in constants:
            key = id(attribute(traced, str(node.target)))
            owners.setdefault(key, []).extend(constants.readers(node))
    return owners


def _sharer(view: View, call: Call, owners: dict[int, list[fx.Node]]) -> str | None:
    """Return who else reads a layer's weights, None where nobody does."""
    for other in _readers_of_weight(view, call, owners):
        if other is not call.node:
            same = other.target == call.node.target and call.module is not None
            return "its other call" if same else call_of(view.traced, other).name
    return None


def _readers_of_weight(
    view: View, call: Call, owners: dict[int, list[fx.Node]]
) -> Iterable[fx.Node]:
    """Return the nodes that use what a layer's weight is made of."""
    if call.module is not None:
        tensors = call.module.state_dict(keep_vars=True)
        keys = {id(tensor) for name, tensor in tensors.items() if name != "bias"}
        return [reader for key in keys for reader in owners[key]]
    weight = call.setting("weight")
    if weight.op == "get_attr":
        return owners[id(attribute(view.traced, str(weight.target)))]
    return view.constants.readers(weight)
