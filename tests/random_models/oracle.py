"""Whether two models are one, by onnxruntime in float32 and by ONNX's reference in float64.

Nothing of the project's own code computes anything here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx
import onnx.inliner
import onnxruntime
import torch
from numpy.typing import NDArray
from onnx.reference import ReferenceEvaluator
from onnx.reference.op_run import OpRun
from torch.nn import functional as F  # noqa: N812 # as everybody calls it

Feed = Mapping[str, NDArray[Any]]
Levels = onnxruntime.GraphOptimizationLevel

# Float64 keeps 1e-16; scales up to 50 in a row and sums of up to 200 products amplify it.
EXACT = 1e-10
# Float32 rounds to 6e-8: sums of 200 products in a dozen layers, sqrt(200) x 12 of them.
ROUNDING = 1e-5
AMPLIFIED = 10  # times the error that the original makes by itself


def served(proto: onnx.ModelProto, feeds: Sequence[Feed], *, optimized: bool) -> list[list[Any]]:
    """Return what onnxruntime returns.

    Raises:
        Exception: onnxruntime does not load or run it.
    """
    options = onnxruntime.SessionOptions()
    level = Levels.ORT_ENABLE_ALL if optimized else Levels.ORT_DISABLE_ALL
    options.graph_optimization_level = level
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    content = proto.SerializeToString()
    session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    names = {one.name for one in session.get_inputs()}
    return [session.run(None, {n: a for n, a in feed.items() if n in names}) for feed in feeds]


def exact(proto: onnx.ModelProto, feeds: Sequence[Feed]) -> list[list[Any]]:
    """Return what a model of float64 returns."""
    whole = onnx.inliner.inline_local_functions(proto)  # the reference has own operators only there
    _give_conditions(whole.graph.node)
    evaluator = ReferenceEvaluator(whole, new_ops=OPERATORS)
    names = set(evaluator.input_names)
    return [evaluator.run(None, {n: a for n, a in feed.items() if n in names}) for feed in feeds]


def _give_conditions(nodes: Any) -> None:
    """Spell out that a Loop goes on: the reference takes no condition for one that is false."""
    for place in reversed(range(len(nodes))):
        node = nodes[place]
        for attribute in node.attribute:
            _give_conditions(attribute.g.node)
        if node.op_type == "Loop" and not node.input[1]:
            node.input[1] = f"{node.name}_goes_on"
            true = onnx.numpy_helper.from_array(np.array(True))
            nodes.insert(place, onnx.helper.make_node("Constant", [], [node.input[1]], value=true))


class BatchNormalization(OpRun):  # the reference has old forms of it wrong
    def _run(self, x: Any, *stats: Any, epsilon: float = 1e-5, **_: Any) -> tuple[Any]:
        gamma, beta, mean, var = (one.reshape(-1, *(1,) * (x.ndim - 2)) for one in stats)
        return (gamma * (x - mean) / np.sqrt(var + np.float32(epsilon)) + beta,)


class Conv(OpRun):  # slow
    def _run(self, x: Any, w: Any, b: Any = None, **given: Any) -> tuple[Any]:
        axes = w.ndim - 2
        strides, dilations = (
            given.get("strides") or [1] * axes,
            given.get("dilations") or [1] * axes,
        )
        pads = given.get("pads") or [0] * (2 * axes)
        mode = given.get("auto_pad") or "NOTSET"
        if mode.startswith("SAME"):
            outputs = [
                -(-size // stride) for size, stride in zip(x.shape[2:], strides, strict=True)
            ]
            total = [
                max(0, (out - 1) * stride + kernel - size)
                for out, stride, kernel, size in zip(
                    outputs, strides, w.shape[2:], x.shape[2:], strict=True
                )
            ]
            less, more = [one // 2 for one in total], [one - one // 2 for one in total]
            pads = [*less, *more] if mode == "SAME_UPPER" else [*more, *less]
        padded = np.pad(x, [(0, 0), (0, 0), *zip(pads[:axes], pads[axes:], strict=True)])
        layer = (F.conv1d, F.conv2d, F.conv3d)[axes - 1]
        y = layer(
            *_tensors(padded, w, b),
            stride=strides,
            dilation=dilations,
            groups=given.get("group") or 1,
        )
        return (y.numpy(),)


class ConvTranspose(OpRun):  # wrong for groups
    def _run(self, x: Any, w: Any, b: Any = None, **given: Any) -> tuple[Any]:
        layer = (F.conv_transpose1d, F.conv_transpose2d)[w.ndim - 3]
        y = layer(*_tensors(x, w, b), stride=given["strides"], groups=given.get("group") or 1)
        return (y.numpy(),)


class GlobalMaxPool(OpRun):  # wrong for all but images
    def _run(self, x: Any) -> tuple[Any]:
        return (x.max(axis=tuple(range(2, x.ndim)), keepdims=True),)


OPERATORS = [BatchNormalization, Conv, ConvTranspose, GlobalMaxPool]


def _tensors(*arrays: Any) -> list[Any]:
    return [None if one is None else torch.from_numpy(np.ascontiguousarray(one)) for one in arrays]


def error(truth: Sequence[Sequence[Any]], other: Sequence[Sequence[Any]]) -> float:
    """Return the largest difference over the largest number of an output; infinite in shapes."""
    worst = 0.0
    for one, two in zip(truth, other, strict=True):
        for left, right in zip(one, two, strict=True):
            if left.shape != right.shape or not np.isfinite(right).all():
                return float("inf")
            scale = float(np.abs(left).max(initial=0.0)) or 1.0
            difference = np.abs(left.astype(np.float64) - right).max(initial=0.0)
            worst = max(worst, float(difference) / scale)
    return worst
