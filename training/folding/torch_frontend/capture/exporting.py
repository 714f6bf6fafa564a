"""From a torch network to the graph of its operations, by torch.export.

It runs the network's Python code on the example, so that code may look at ranks, types and sizes.
The graph holds ATen's operators, which are translated to what torch.fx would have seen. Its batch
stays free where the network allows; the other sizes are those of the example.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import fx, nn
from torch.export import Dim

from training.errors import FoldError
from training.folding.torch_frontend.capture.tracing import first_line, user_hooks
from training.folding.torch_frontend.capture.translation import translate

FREE_BATCH = 3  # of the example that is exported: torch takes sizes of 0 and 1 for constants


def export(original: nn.Module, inputs: tuple[torch.Tensor, ...]) -> tuple[fx.GraphModule, str]:
    """Return a network as a graph, and what the graph is restricted to.

    Raises:
        FoldError: torch.export cannot, or the graph would be another network.
    """
    _check(original)
    fixed = f"the result takes inputs of the example's sizes, {_sizes(inputs)}"
    try:
        traced = _exported(original, _repeated(inputs), free=True)
        return traced, f"{fixed}, in any batch"
    except Exception:  # the network's own code runs here
        try:
            return _exported(original, inputs, free=False), fixed
        except Exception as exc:
            raise FoldError(f"torch.export cannot either: {first_line(exc)}") from exc


def _check(original: nn.Module) -> None:
    """Refuse what a graph of operators would lose.

    Raises:
        FoldError: it has a mode, or a hook.
    """
    for name, module in original.named_modules():
        named = name or type(original).__name__
        if module.training:
            raise FoldError(
                f"torch.export would bake in that {named} is in training mode; call eval() first"
            )
        if user_hooks(module):
            raise FoldError(f"torch.export would lose the hook on {named}; remove it first")


def _repeated(inputs: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
    """Return the inputs with another batch; the samples are the same ones in turn.

    Raises:
        FoldError: they have none, or different ones.
    """
    if any(not tensor.dim() for tensor in inputs) or len({len(tensor) for tensor in inputs}) != 1:
        raise FoldError("the inputs do not share a batch")
    return tuple(tensor[torch.arange(FREE_BATCH) % len(tensor)] for tensor in inputs)


def _exported(
    original: nn.Module, inputs: tuple[torch.Tensor, ...], *, free: bool
) -> fx.GraphModule:
    batch = tuple({0: Dim.DYNAMIC} for _ in inputs) if free else None
    with torch.no_grad(), _quiet():
        program = torch.export.export(
            original, tuple(t.clone() for t in inputs), dynamic_shapes=batch, strict=False
        )
        module = program.module(check_guards=False)
    traced = fx.GraphModule(module, module.graph, type(original).__name__)
    translate(traced.graph)
    traced.recompile()
    return traced.eval()


def _sizes(inputs: tuple[torch.Tensor, ...]) -> str:
    return ", ".join("x".join(map(str, tensor.shape)) for tensor in inputs)


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep what torch.export logs and warns of to itself; what it raises counts."""
    logger = logging.getLogger("torch")
    level = logger.level
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        logger.setLevel(logging.CRITICAL)
        try:
            yield
        finally:
            logger.setLevel(level)
