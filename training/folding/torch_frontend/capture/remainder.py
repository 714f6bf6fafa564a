"""What is left of a module once some of its operations pass their input on."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from torch import fx, nn

from training.folding.torch_frontend.capture.constants import Constants

Builder = Callable[[nn.Module], nn.Module]  # from the module to what takes its place


def remainder(
    traced: fx.GraphModule, constants: Constants, path: str, gone: Sequence[fx.Node]
) -> Builder | None:
    """Return what makes the remainder of the module at `path` without the nodes in `gone`.

    These read each other in turn, the first one the module's input. None where the rest does not
    read their result alone, or more than the module has.
    """
    nodes = [node for node in _first_call(traced, path) if node not in gone]
    kept = [node for node in nodes if constants.is_value(node)]
    known = {gone[-1], *nodes}
    if any(set(node.all_input_nodes) - known for node in kept):
        return None
    if not kept:
        return lambda module: nn.Identity()
    steps = [gone[-1], *kept]
    in_turn = all(
        node.op == "call_module" and node.args == (before,) and not node.kwargs
        for before, node in zip(steps, kept, strict=False)
    )
    if in_turn:
        return lambda module: _sequence(module, [_within(node, path) for node in kept])
    if any(node.op in ("call_module", "get_attr") and not _is_within(node, path) for node in nodes):
        return None
    return lambda module: _graph(module, path, gone[-1], nodes)


def _first_call(traced: fx.GraphModule, path: str) -> list[fx.Node]:
    """Return the nodes that the first call of a module made, constants that it reads among them."""
    calls: dict[str, list[fx.Node]] = {}
    for node in traced.graph.nodes:
        for key, (place, _) in (node.meta.get("nn_module_stack") or {}).items():
            if place == path:
                calls.setdefault(key, []).append(node)
    found = next(iter(calls.values()))
    read = [one for node in found for one in node.all_input_nodes if one.op == "get_attr"]
    return [node for node in traced.graph.nodes if node in {*found, *read}]


def _is_within(node: fx.Node, path: str) -> bool:
    return str(node.target).startswith(f"{path}.")


def _within(node: fx.Node, path: str) -> str:
    return str(node.target).removeprefix(f"{path}.")


def _sequence(module: nn.Module, names: list[str]) -> nn.Module:
    """Return the submodules of these names, those that do nothing left out."""
    parts = [module.get_submodule(name) for name in names]
    active = [part for part in parts if not isinstance(part, nn.Identity)]
    if not active:
        return nn.Identity()
    return active[0] if len(active) == 1 else nn.Sequential(*active)


def _graph(module: nn.Module, path: str, source: fx.Node, nodes: list[fx.Node]) -> nn.Module:
    """Return a module that does what these nodes do with the result of `source`."""
    graph = fx.Graph()
    copies = {source: graph.placeholder("x")}
    for node in nodes:
        if not node.users:
            continue
        copies[node] = graph.node_copy(node, lambda one: copies[one])
        if node.op in ("call_module", "get_attr"):
            copies[node].target = _within(node, path)
    graph.output(copies[nodes[-1]])
    return fx.GraphModule(module, graph, type(module).__name__)
