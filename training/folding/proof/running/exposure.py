"""Models that return some of their inner tensors too."""

from __future__ import annotations

from collections.abc import Sequence

import onnx_ir as ir


def exposed(model: ir.Model, names: Sequence[str]) -> ir.Model:
    """Return a copy that returns inner tensors after its own outputs, in their order."""
    copy = model.clone()
    values = {str(output.name): output for node in copy.graph for output in node.outputs}
    copy.graph.outputs.extend(values[name] for name in names)
    return copy


def inner_tensors(model: ir.Model) -> set[str]:
    """Return the names of what a graph makes and does not return, bodies left out."""
    returned = set(model.graph.outputs)
    values = (output for node in model.graph for output in node.outputs)
    return {str(value.name) for value in values if value not in returned}
