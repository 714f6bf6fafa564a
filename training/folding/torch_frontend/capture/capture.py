"""A network as a graph, in whichever way succeeds."""

from __future__ import annotations

import copy
from dataclasses import dataclass, field

import torch
from torch import fx, nn
from torch.nn.parameter import is_lazy

from training.errors import FoldError
from training.folding.torch_frontend.capture.exporting import export
from training.folding.torch_frontend.capture.observation import (
    REMEDY,
    HiddenStateError,
    Observations,
    observe,
    run,
)
from training.folding.torch_frontend.capture.tracing import (
    Reasons,
    first_line,
    trace,
    untraceable,
)


@dataclass(frozen=True, eq=False)
class Captured:
    """A network as a graph, and the copy that its layers are of.

    Attributes:
        traced: the graph.
        original: a copy of the network, which nothing changes.
        seen: what one run of the graph shows.
        whole: classes that were not looked into -> why they cannot be traced.
        note: what the graph is restricted to, None where it is what the network is.
    """

    traced: fx.GraphModule
    original: nn.Module
    seen: Observations
    whole: Reasons = field(default_factory=dict)
    note: str | None = None


def capture(network: nn.Module, inputs: tuple[torch.Tensor, ...]) -> Captured:
    """Return a network as a graph: as torch.fx traces it, else as torch.export writes it.

    Where neither succeeds, torch.fx does without the modules that it cannot trace.

    Raises:
        HiddenStateError: what the network computes depends on more than its input.
        FoldError: there is no way, the example does not fit, or a layer has no weights yet.
    """
    _check_initialized(network)
    _check_example(copied(network), inputs)
    try:
        return _traced(copied(network), inputs, {})
    except HiddenStateError:
        raise
    except FoldError as exc:
        no_trace = exc
    try:
        return _exported(copied(network), inputs, str(no_trace))
    except HiddenStateError:
        raise
    except FoldError as exc:
        no_export = exc
    whole = untraceable(copied(network))
    if not whole:
        raise FoldError(f"{no_trace}; {no_export}; {REMEDY}") from no_trace
    return _traced(copied(network), inputs, whole)


def copied(network: nn.Module) -> nn.Module:
    """Return a deep copy; tensors that carry the history of their making come without it.

    Raises:
        FoldError: it has something that cannot be copied.
    """
    try:
        return copy.deepcopy(network, _detached(network))
    except Exception as exc:  # whatever the network holds
        raise FoldError(
            f"{type(network).__name__} cannot be copied: {first_line(exc)}; {REMEDY}"
        ) from exc


def _traced(original: nn.Module, inputs: tuple[torch.Tensor, ...], whole: Reasons) -> Captured:
    traced = trace(original, whole)
    return Captured(traced, original, observe(traced, original, inputs), whole)


def _exported(original: nn.Module, inputs: tuple[torch.Tensor, ...], why: str) -> Captured:
    exported, note = export(original, inputs)
    for _ in range(2):  # torch.export undoes what the network did to itself: it shows later
        seen = observe(exported, original, inputs)
    return Captured(exported, original, seen, note=f"read by torch.export, since {why}; {note}")


def _check_initialized(network: nn.Module) -> None:
    """Refuse lazy layers, whose size only data shows."""
    tensors = (*network.named_parameters(), *network.named_buffers())
    waiting = next((name for name, tensor in tensors if is_lazy(tensor)), None)
    if waiting is not None:
        raise FoldError(
            f"{waiting} is not initialized: its layer has seen no data yet; train the network, or "
            "load its weights, first"
        )


def _check_example(network: nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
    try:
        run(network.eval(), inputs)
    except Exception as exc:  # the network's own code runs here
        shapes = ", ".join(str(tuple(tensor.shape)) for tensor in inputs)
        raise FoldError(f"the network does not take the example {shapes}: {exc}") from exc


def _detached(network: nn.Module) -> dict[int, object]:
    """Return what `deepcopy` refuses to copy: tensors that carry the history of their making."""
    tensors = [
        value
        for module in network.modules()
        for value in vars(module).values()
        if isinstance(value, torch.Tensor) and not value.is_leaf
    ]
    return {id(tensor): tensor.detach().clone() for tensor in tensors}
