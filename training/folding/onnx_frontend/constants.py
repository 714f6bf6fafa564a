"""Which tensors of an ONNX graph are constant, and their values in float64."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
from numpy.typing import NDArray
from onnx.reference import ReferenceEvaluator
from onnx.reference.op_run import OpRun

from training.folding.algebra.affine import FoldRefused

Array = NDArray[Any]

NEUTRAL_DOMAINS = ("", "ai.onnx")
FIRST_DEQUANTIZED = 19  # the first opset whose DequantizeLinear ONNX's reference has
RANDOM = ("Bernoulli", "Dropout", "Multinomial", "RandomNormalLike", "RandomUniformLike")


class DequantizeLinear(OpRun):
    """Scale (x - zero point), as in opsets 10 to 18: one scale, or one for each channel."""

    def _run(
        self, x: Array, scale: Array, zero: Array | None = None, axis: int = 1, **_: object
    ) -> tuple[Array]:
        shape = [1] * x.ndim
        if scale.size > 1:
            shape[axis] = scale.size
        shifted = x.astype(scale.dtype) - (0 if zero is None else zero.reshape(shape))
        return (scale.reshape(shape) * shifted,)


def missing_operators(opset: int) -> list[type[OpRun]]:
    """Return those operators of an opset that ONNX's reference has of later ones only."""
    return [DequantizeLinear] if opset < FIRST_DEQUANTIZED else []


class Constants:
    """Initializers, and what a graph computes from nothing but constants."""

    def __init__(self, opset: int) -> None:
        self._opset = opset
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
        if node is None or _has_graphs(node) or node.op_type in RANDOM:
            return False
        if node.domain not in NEUTRAL_DOMAINS:
            return False
        if node.op_type in ("Shape", "Size") and _sizes(node.inputs[0]) is not None:
            return True
        inputs = _read_numbers(node)
        if not inputs:
            return node.op_type == "Constant"
        return all(self.holds(one) for one in inputs)

    def array(self, value: ir.Value) -> NDArray[Any]:
        """Return a constant; floating-point numbers come, and are computed, in float64.

        Raises:
            FoldRefused: the reference implementation cannot compute it.
        """
        if value not in self._values:
            try:
                self._values[value] = _exact(self._compute(value))
            except FoldRefused:
                raise
            except Exception as error:  # its exceptions share no other base
                raise FoldRefused(f"{value.name} cannot be computed: {error}") from error
        return self._values[value]

    def _compute(self, value: ir.Value) -> NDArray[Any]:
        if value.const_value is not None:
            return value.const_value.numpy()
        node = value.producer()
        assert node is not None, "asked of constants only"
        if node.op_type == "CastLike":
            kind = value.dtype.numpy() if value.dtype is not None else np.dtype(np.float32)
            return self.array(_input(node)).astype(kind)
        if node.op_type in ("Shape", "Size") and not self.holds(_input(node)):
            return _shape(node)
        feeds = {str(one.name): self.array(one) for one in node.inputs if one is not None}
        graph = onnx.GraphProto(
            name="constant",
            node=[ir.to_proto(node)],
            input=[onnx.ValueInfoProto(name=name) for name in feeds],
            output=[onnx.ValueInfoProto(name=value.name)],
        )
        evaluator = ReferenceEvaluator(
            graph, opsets={"": self._opset}, new_ops=missing_operators(self._opset)
        )
        (output,) = evaluator.run([str(value.name)], feeds)
        return np.asarray(output)


def is_quantized(value: ir.Value) -> bool:
    """Whether a constant is computed from quantized numbers; sizes of a tensor are not."""
    pending, seen = [value], {value}
    while pending:
        node = pending.pop().producer()
        if node is None or node.op_type in ("Shape", "Size"):
            continue
        if node.op_type == "DequantizeLinear":
            return True
        new = set(_read_numbers(node)) - seen  # each once: branches of branches double the paths
        seen |= new
        pending += new
    return False


def _read_numbers(node: ir.Node) -> list[ir.Value]:
    """Return the inputs whose numbers count; of the second one of CastLike only the type does."""
    inputs = [one for one in node.inputs if one is not None]
    return inputs[:1] if node.op_type == "CastLike" else inputs


def _input(node: ir.Node) -> ir.Value:
    value = node.inputs[0]
    assert value is not None, "its first input is not optional"
    return value


def _sizes(value: ir.Value | None) -> list[int] | None:
    """Return the sizes of a tensor, None where one is free."""
    if value is None or value.shape is None:
        return None
    sizes = [size for size in value.shape if isinstance(size, int)]
    return sizes if len(sizes) == len(value.shape) else None


def _shape(node: ir.Node) -> NDArray[np.int64]:
    """Return what Shape or Size say of a tensor whose sizes are all given."""
    sizes = np.array(_sizes(node.inputs[0]), np.int64)
    if node.op_type == "Size":
        return np.asarray(sizes.prod())
    start, end = (node.attributes.get(name) for name in ("start", "end"))
    return sizes[start and start.as_int() : end and end.as_int()]


def _has_graphs(node: ir.Node) -> bool:
    return any(
        attribute.type in (ir.AttributeType.GRAPH, ir.AttributeType.GRAPHS)
        for attribute in node.attributes.values()
    )


def _exact(array: NDArray[Any]) -> NDArray[Any]:
    if array.dtype.kind == "f" or array.dtype.name == "bfloat16":
        return array.astype(np.float64)
    return array
