"""Folding a torch network."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass, field, fields

import torch
from torch import fx, nn

from training.folding.engine import planner
from training.folding.engine.graph import Norm
from training.folding.engine.report_row import Row
from training.folding.torch_frontend.capture import Captured, capture
from training.folding.torch_frontend.norms import (
    is_batch_norm,
    keeps_statistics,
    number_of_channels,
)
from training.folding.torch_frontend.view import View, view_of
from training.folding.torch_frontend.write_back import write_back

NEVER_CALLED = "the network never calls it"


@dataclass(eq=False, repr=False)
class NormRow(Row):
    """One batch norm of a torch network, or constants that were folded like one.

    Attributes:
        calls: how often the network calls it.
    """

    calls: int = 1

    @property
    def outcome(self) -> str:
        """The layers that took it up, or why it is kept."""
        often = f"called {self.calls} times: " if self.calls > 1 else ""
        return often + super().outcome


@dataclass(frozen=True, eq=False)
class FoldedNetwork:
    """A network with its batch norms folded, and what became of each.

    Attributes:
        note: what the network is restricted to, None where it is what it was.
        original: a copy of the network as it was.
        exact: returns the folded network in float64, with weights that were never rounded.
    """

    network: nn.Module
    rows: tuple[NormRow, ...]
    note: str | None = None
    original: nn.Module = field(kw_only=True, repr=False)
    exact: Callable[[], nn.Module] = field(kw_only=True, repr=False)


def fold_network(
    network: nn.Module,
    example: torch.Tensor | tuple[torch.Tensor, ...],
    *,
    clones: bool = False,
) -> FoldedNetwork:
    """Return a copy of the network with every batch norm folded that can be, exactly.

    `example` is any valid input, of the network's type and device; one run on it in inference mode
    shows the shapes, and moves no statistics. Weights are folded in float64 and rounded once, to
    the type they had. With `clones`, layers that serve several places get private copies.

    Raises:
        FoldError: torch can neither trace nor export the network, or the example does not fit.
    """
    captured = capture(network, inputs_of(example))
    view = view_of(captured, clones=clones)
    others = unlisted(captured, view)
    rows = rows_of(planner.fold(view.graph), view)
    written = write_back(view)
    return FoldedNetwork(
        written.network,
        (*rows, *others),
        captured.note,
        original=captured.original,
        exact=lambda: _exact(written.network, written.exact),
    )


def inputs_of(example: torch.Tensor | tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
    """Return the inputs of a network that may have a single one."""
    return (example,) if isinstance(example, torch.Tensor) else tuple(example)


def rows_of(rows: list[Row], view: View) -> list[NormRow]:
    """Return the planner's rows with what torch knows of them, and without its graph."""
    return [
        NormRow(
            **{one.name: getattr(row, one.name) for one in fields(Row) if one.name != "probe"},
            calls=view.uses.get(row.norm, 1),
        )
        for row in rows
    ]


def unlisted(captured: Captured, view: View) -> list[NormRow]:
    """Return a row for each module that keeps statistics and is none of the view's batch norms."""
    nodes = [node for node in captured.traced.graph.nodes if node.op != "get_attr" or node.users]
    used = [_owner(node) for node in nodes if node.op in ("call_module", "get_attr")]
    listed = {norm.name for norm in view.uses} | {
        _owner(source)
        for call in view.calls.values()
        if is_batch_norm(call)
        for source in call.node.all_input_nodes
    }
    rows = []
    for path, module in captured.original.named_modules():
        if keeps_statistics(module) and path not in listed:
            called = any(f"{path}.".startswith(f"{one}.") for one in used if one)
            reason = "what its forward computes is not known" if called else NEVER_CALLED
            norm = Norm(path, number_of_channels(module))
            rows.append(NormRow(norm, reason=reason, calls=int(called)))
    return rows


def _owner(node: fx.Node) -> str:
    """Return the path of the module that a node calls, or whose tensor it is."""
    path = str(node.target)
    return path if node.op == "call_module" else path.rpartition(".")[0]


def _exact(network: fx.GraphModule, layers: dict[str, Callable[[], nn.Module]]) -> nn.Module:
    exact = copy.deepcopy(network).double()
    for path, layer in layers.items():
        exact.add_submodule(path, layer())
    return exact
