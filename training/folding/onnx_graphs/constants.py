"""Which tensors of an ONNX graph are constant, and their values in float64."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import onnx_ir as ir
from onnx.reference import ReferenceEvaluator

if TYPE_CHECKING:
    from numpy.typing import NDArray


class Constants:
    """Initializers, and what a graph computes from nothing but constants."""

    def __init__(self) -> None:
        self._known: dict[ir.Value, bool] = {}
        self._values: dict[ir.Value, NDArray[Any]] = {}

    def holds(self, value: ir.Value) -> bool:
        """Whether a tensor is the same in every run; an initializer that is an input is not."""
        if value not in self._known:
            self._known[value] = self._is_constant(value)
        return self._known[value]

    def _is_constant(self, value: ir.Value) -> bool:
        if value.is_initializer():
            return not value.is_graph_input()
        node = value.producer()
        if node is None or _has_graphs(node) or node.op_type in ("RandomNormal", "RandomUniform"):
            return False
        inputs = [one for one in node.inputs if one is not None]
        if not inputs:
            return node.op_type == "Constant"
        return all(self.holds(one) for one in inputs)

    def array(self, value: ir.Value) -> NDArray[Any]:
        """Return a constant; floating-point numbers come, and are computed, in float64."""
        if value not in self._values:
            self._values[value] = _exact(self._compute(value))
        return self._values[value]

    def _compute(self, value: ir.Value) -> NDArray[Any]:
        if value.const_value is not None:
            return value.const_value.numpy()
        node = value.producer()
        assert node is not None, "asked of constants only"
        feeds = {str(one.name): self.array(one) for one in node.inputs if one is not None}
        outputs = list(ReferenceEvaluator(ir.to_proto(node)).run(None, feeds))
        return np.asarray(outputs[value.index() or 0])


def _has_graphs(node: ir.Node) -> bool:
    return any(
        attribute.type in (ir.AttributeType.GRAPH, ir.AttributeType.GRAPHS)
        for attribute in node.attributes.values()
    )


def _exact(array: NDArray[Any]) -> NDArray[Any]:
    if array.dtype.kind == "f" or array.dtype.name == "bfloat16":
        return array.astype(np.float64)
    return array
