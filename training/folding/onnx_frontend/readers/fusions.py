"""Spelled-out functions that runtimes know as one: their constants stay where they are.

GELU, its tanh form, SiLU, QuickGelu, HardSwish, Mish, LayerNorm, RMSNorm and whatever else comes
are alike in one thing: two ways that lead from one tensor through operators without weights meet
in a product or a quotient, as in `x * sigmoid(1.7 x)`. The constants on these ways, and the number
(of a norm: the scale and the shift) right after, are part of the function. A constant that is moved
out of it saves one operator, and costs the fusion of all of them: onnxruntime finds no Gelu where
the 0.5 has gone into the next layer.

Attention is kept whole likewise: numbers next to a product of two computed matrices.

What is locked are constants alone. A batch norm next to such a function is folded as anywhere.

Reference:
    onnxruntime, core/optimizer: gelu_fusion, fast_gelu_fusion, quick_gelu_fusion,
    layer_norm_fusion, attention_fusion, matmul_scale_fusion.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import onnx_ir as ir

from training.folding.algebra.affine import FoldRefused
from training.folding.onnx_frontend.constants import NEUTRAL_DOMAINS, Constants

REDUCTIONS = {"ReduceMean", "ReduceSum", "ReduceSumSquare", "ReduceL2", "ReduceMax"}
NORMS = {"InstanceNormalization", "LpNormalization"}  # part of a norm by groups, if not all of it
LINEAR = {"Add", "Sub", "Mul", "Div"}
MOVES = {"Reshape", "Transpose"}
WEIGHTLESS = LINEAR | REDUCTIONS | {
    *("Abs", "Cast", "Clip", "Dropout", "Elu", "Erf", "Exp", "HardSigmoid", "Identity", "Log"),
    *("Max", "Min", "Neg", "Pow", "Reciprocal", "Relu", "Sigmoid", "Softplus", "Sqrt", "Tanh"),
}  # fmt: skip
LONGEST = 24  # operators in a spelled-out function; the longest here, FastGelu, has 9


def fused_nodes(graph: ir.Graph, constants: Constants) -> dict[ir.Node, str]:
    """Return the nodes that belong to a function which runtimes fuse, with its last operator."""
    found: dict[ir.Node, str] = {}
    finder = _Finder(constants)
    for node in graph:
        for member in finder.members(node):
            found.setdefault(member, node.name or str(node.outputs[0].name))
    return found


class _Finder:
    """Looks for spelled-out functions that end in a node."""

    def __init__(self, constants: Constants) -> None:
        self._constants = constants

    def members(self, node: ir.Node) -> Iterator[ir.Node]:
        """Yield the nodes of the function that ends in a node; none where none does."""
        if node.domain not in NEUTRAL_DOMAINS:
            return
        if node.op_type in ("Mul", "Div") and len(self._computed(node)) == 2:
            yield from self._function(node)
        elif node.op_type == "MatMul" and len(self._computed(node)) == 2:
            yield from self._scales(node)
        elif node.op_type in NORMS:
            yield from self._after(node, MOVES, norm=True)
        elif node.op_type == "Clip":
            yield from self._hard_sigmoid(node)

    def _function(self, join: ir.Node) -> Iterator[ir.Node]:
        """Yield what lies between a product and the one tensor that both of its sides come from."""
        left, right = (self._origins(value) for value in self._computed(join))
        fork = next((value for value in left if value in right), None)
        if fork is None:
            return
        between = [join, *self._between(join, fork)]
        yield from between
        norm = any(node.op_type in REDUCTIONS for node in between)
        yield from self._after(join, set(), norm=norm)

    def _origins(self, value: ir.Value) -> list[ir.Value]:
        """Return a tensor and those that it is computed from without weights, the nearest first."""
        found = [value]
        for one in found:
            node = one.producer()
            if node is not None and node.op_type in WEIGHTLESS and len(found) < 2 * LONGEST:
                found += [new for new in dict.fromkeys(self._computed(node)) if new not in found]
        return found

    def _between(self, join: ir.Node, fork: ir.Value) -> list[ir.Node]:
        """Return the nodes before a join that work on what comes from the fork."""
        found: list[ir.Node] = []
        pending = [join]
        while pending:
            for value in self._computed(pending.pop()):
                node = value.producer()
                if value is fork or node is None or node in found:
                    continue
                if fork in self._origins(value):
                    found.append(node)
                    pending.append(node)
        return found

    def _after(self, node: ir.Node, past: set[str], *, norm: bool) -> Iterator[ir.Node]:
        """Yield the constants right after: a number, or the scale and the shift of a norm."""
        for kinds in (("Mul", "Div"), ("Add", "Sub")) if norm else (("Mul", "Div"),):
            reader = self._reader(node)
            while reader is not None and reader.op_type in past:
                reader = self._reader(reader)
            if reader is None or len(self._computed(reader)) != 1:
                return
            if reader.op_type in kinds and (norm or self._is_number(reader)):
                yield reader
                node = reader

    def _scales(self, product: ir.Node) -> Iterator[ir.Node]:
        """Yield the numbers that scale a product of two computed matrices, or one of these."""
        yield from self._after(product, MOVES, norm=False)
        for value in self._computed(product):
            node = value.producer()
            while node is not None and node.op_type in MOVES:
                node = self._computed(node)[0].producer() if self._computed(node) else None
            if node is not None and node.op_type in ("Mul", "Div") and self._is_number(node):
                yield node

    def _hard_sigmoid(self, clip: ir.Node) -> Iterator[ir.Node]:
        """Yield x + 3 and / 6 around a Clip to 0 and 6."""
        before = clip.inputs[0].producer() if clip.inputs[0] is not None else None
        after = list(self._after(clip, set(), norm=False))
        if before is None or before.op_type != "Add" or not self._is_number(before) or not after:
            return
        numbers = [self._number(node) for node in (before, *after)]
        if numbers[0] == 3 and numbers[1] in (6, float(np.float32(1 / 6))):
            yield from (before, *after)

    def _number(self, node: ir.Node) -> float | None:
        """Return the number that a node adds or multiplies by, None where it is not known."""
        (value,) = (one for one in node.inputs if one is not None and self._constants.holds(one))
        try:
            return float(np.float32(self._constants.array(value).item()))
        except FoldRefused:
            return None

    def _computed(self, node: ir.Node) -> list[ir.Value]:
        return [
            value for value in node.inputs if value is not None and not self._constants.holds(value)
        ]

    def _is_number(self, node: ir.Node) -> bool:
        """Whether the one constant of a node is a single number."""
        given = [
            value for value in node.inputs if value is not None and self._constants.holds(value)
        ]
        return len(given) == 1 and len(node.inputs) == 2 and _size(given[0]) == 1

    def _reader(self, node: ir.Node) -> ir.Node | None:
        """Return the one reader of what a node returns, None where there are others."""
        uses = tuple(node.outputs[0].uses())
        return uses[0].node if len(uses) == 1 else None


def _size(value: ir.Value) -> int | None:
    """Return how many numbers a constant has, None where that is not known."""
    if value.const_value is not None:
        return value.const_value.size
    sizes = [] if value.shape is None else [s if isinstance(s, int) else 0 for s in value.shape]
    return math.prod(sizes) if value.shape is not None else None
