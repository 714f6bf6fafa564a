"""Folding a torch network."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import fx, nn

from training.folding.engine import planner
from training.folding.engine.report_row import Row
from training.folding.torch_frontend.observation import observe
from training.folding.torch_frontend.tracing import trace
from training.folding.torch_frontend.view import view_of
from training.folding.torch_frontend.write_back import write_back


@dataclass(frozen=True)
class FoldedNetwork:
    """A network with its batch norms folded, and what became of each."""

    network: fx.GraphModule
    rows: tuple[Row, ...]


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
        FoldError: torch.fx cannot trace the network, or the example does not fit.
    """
    inputs = (example,) if isinstance(example, torch.Tensor) else example
    traced, copied = trace(network)
    view = view_of(traced, observe(traced, copied, inputs), clones=clones)
    rows = planner.fold(view.graph)
    return FoldedNetwork(write_back(view), tuple(rows))
