"""Graphs whose batch norms are in training mode, or that mix images of a batch another way.

Each is the unfolded keras-bn with one change, and with golden logits: those of the network that was
released (`released`), what the graph itself says of the golden images together (`together`), or of
each alone (`alone`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from benchmarks.serving_systems import served_artifact

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

NORM = "BatchNormalization"
LARGEST_TESTED = 16  # no start-up check runs so many images at once
UNLIKELY = 3.0  # standard deviations; of ten values none is farther than 2.85 away
LOGITS, FEATURES = "logits", "linear_1"  # of the exported graph: what its last batch norm maps

Source = Literal["released", "together", "alone"]


@dataclass(frozen=True)
class Suspect:
    """A graph to be checked; `tolerance` is what its artifact would state, in parts of scale."""

    name: str
    graph: onnx.ModelProto
    golden: Source = "released"
    tolerance: float | None = None
    same_image: bool = False


def suspects() -> list[Suspect]:
    """Return every graph, the innocent one first."""
    every, one = _trained(_norms), _trained(lambda graph: _norms(graph)[:1])
    return [
        Suspect("inference mode: the released graph", _released()),
        Suspect("left in training mode", every),
        Suspect("left in training mode, golden logits its own, together", every, "together"),
        Suspect("left in training mode, golden logits its own, alone", every, "alone"),
        Suspect("its own, together, one image ten times", every, "together", same_image=True),
        Suspect("only the first norm", one),
        Suspect("only the first norm, its own, together", one, "together"),
        Suspect("only the last norm", _trained(lambda graph: _norms(graph)[-1:])),
        Suspect("momentum 0", _trained(_norms, momentum=0.0)),
        Suspect("momentum 1", _trained(_norms, momentum=1.0)),
        Suspect("opset 13, one output: inference", _old(outputs=1)),
        Suspect("opset 13, five outputs", _old(outputs=5)),
        Suspect("in both branches of an If", _branched(None)),
        Suspect("in a function", _in_function()),
        Suspect("a norm of a constant", _beside(_constant_norm), "together"),
        Suspect("a norm whose gamma is 0", _beside(_silent_norm), "together"),
        Suspect("a norm that only far outliers pass", _beside(_outlier_norm), "together"),
        Suspect("in a branch for large batches", _branched(LARGEST_TESTED)),
        Suspect("a 1 % share of training, int8 tolerance 0.1", _mixed(0.01), "alone", 0.1),
        Suspect("a 1 % share of training, int8 tolerance 0.007", _mixed(0.01), "alone", 0.007),
        Suspect("no norm: the batch's mean for large batches", _mean_of_large_batches()),
    ]


def _released() -> onnx.ModelProto:
    return onnx.load(served_artifact() / "model.unfolded.onnx")


def _norms(graph: onnx.GraphProto) -> list[onnx.NodeProto]:
    return [node for node in graph.node if node.op_type == NORM]


def _with_last_norm() -> tuple[onnx.ModelProto, onnx.NodeProto]:
    model = _released()
    return model, _norms(model.graph)[-1]


def _copy(node: onnx.NodeProto, output: str) -> onnx.NodeProto:
    copied = onnx.NodeProto()
    copied.CopyFrom(node)
    copied.output[0] = output
    return copied


def _train(node: onnx.NodeProto, **attributes: float) -> None:
    """Put a norm into training mode, which has three outputs."""
    _drop(node, "training_mode", *attributes)
    for name, value in {"training_mode": 1, **attributes}.items():
        node.attribute.append(helper.make_attribute(name, value))
    first = node.output[0]
    node.output[:] = [first, f"{first}.mean", f"{first}.var"]


def _drop(node: onnx.NodeProto, *names: str) -> None:
    kept = [one for one in node.attribute if one.name not in names]
    del node.attribute[:]
    node.attribute.extend(kept)


def _trained(
    chosen: Callable[[onnx.GraphProto], Sequence[onnx.NodeProto]], **attributes: float
) -> onnx.ModelProto:
    model = _released()
    for node in chosen(model.graph):
        _train(node, **attributes)
    return model


def _old(outputs: int) -> onnx.ModelProto:
    """Return the graph as opset 13 had it: training meant more outputs, and there was no mode."""
    model = _released()
    model.opset_import[0].version = 13
    model.ir_version = 7
    for node in model.graph.node:
        _drop(node, "allowzero")  # of a Reshape, later
        if node.op_type == NORM:
            first = node.output[0]
            node.output.extend(f"{first}.{index}" for index in range(1, outputs))
    return model


def _branched(threshold: int | None) -> onnx.ModelProto:
    """Return the last norm in training mode inside an If: for large batches, or for all."""
    model, node = _with_last_norm()
    branches = []
    for name in ("then", "else"):
        inner = _copy(node, f"{LOGITS}.{name}")
        if name == "then" or threshold is None:
            _train(inner)
        output = helper.make_tensor_value_info(inner.output[0], TensorProto.FLOAT, None)
        branches.append(helper.make_graph([inner], name, [], [output]))
    condition = _is_large(model.graph, threshold or 0)
    choice = helper.make_node(
        "If", [condition], [LOGITS], then_branch=branches[0], else_branch=branches[1]
    )
    _replace(model.graph, node, choice)
    return model


def _is_large(graph: onnx.GraphProto, threshold: int) -> str:
    """Add what tells whether the batch has more images, and return its name."""
    graph.initializer.append(numpy_helper.from_array(np.array(threshold, np.int64), "threshold"))
    graph.initializer.append(numpy_helper.from_array(np.array(0, np.int64), "first"))
    for node in (
        helper.make_node("Shape", ["image"], ["shape"]),
        helper.make_node("Gather", ["shape", "first"], ["count"]),
        helper.make_node("Greater", ["count", "threshold"], ["is_large"]),
    ):
        _insert_first(graph, node)
    return "is_large"


def _insert_first(graph: onnx.GraphProto, node: onnx.NodeProto) -> None:
    known = [name for one in graph.node for name in one.output]
    place = max((known.index(name) + 1 for name in node.input if name in known), default=0)
    graph.node.insert(place, node)


def _in_function() -> onnx.ModelProto:
    model, node = _with_last_norm()
    inner = _copy(node, LOGITS)
    _train(inner)
    inputs = list(node.input)
    function = helper.make_function(
        "local", "Norm", inputs, [LOGITS], [inner], [helper.make_opsetid("", 20)]
    )
    model.functions.append(function)
    model.opset_import.append(helper.make_opsetid("local", 1))
    _replace(model.graph, node, helper.make_node("Norm", inputs, [LOGITS], domain="local"))
    return model


def _replace(graph: onnx.GraphProto, old: onnx.NodeProto, *new: onnx.NodeProto) -> None:
    place = list(graph.node).index(old)
    del graph.node[place]
    for offset, node in enumerate(new):
        graph.node.insert(place + offset, node)


def _beside(term: Callable[[onnx.GraphProto], list[onnx.NodeProto]]) -> onnx.ModelProto:
    """Return the graph with a term, `extra`, that is added to its logits."""
    model, node = _with_last_norm()
    norm = _copy(node, "plain")
    add = helper.make_node("Add", ["plain", "extra"], [LOGITS])
    _replace(model.graph, node, norm, *term(model.graph), add)
    return model


def _norm_of(graph: onnx.GraphProto, source: str, gamma: float, beta: float) -> onnx.NodeProto:
    """Return a norm of ten channels in training mode; its output is `extra.norm`."""
    for name, value in (("gamma", gamma), ("beta", beta), ("mean", 0.0), ("var", 1.0)):
        array = np.full(10, value, np.float32)
        graph.initializer.append(numpy_helper.from_array(array, f"extra.{name}"))
    inputs = [source, "extra.gamma", "extra.beta", "extra.mean", "extra.var"]
    node = helper.make_node(NORM, inputs, ["extra.norm"], name="extra_norm")
    _train(node)
    return node


def _constant_norm(graph: onnx.GraphProto) -> list[onnx.NodeProto]:
    values = np.linspace(-1, 1, 10, dtype=np.float32)
    constant = np.stack([values, values[::-1]])  # (2, 10)
    graph.initializer.append(numpy_helper.from_array(constant, "extra.constant"))
    graph.initializer.append(numpy_helper.from_array(np.array([0], np.int64), "extra.first"))
    return [
        _norm_of(graph, "extra.constant", 1.0, 0.0),
        helper.make_node("Gather", ["extra.norm", "extra.first"], ["extra"]),
    ]


def _silent_norm(graph: onnx.GraphProto) -> list[onnx.NodeProto]:
    norm = _norm_of(graph, FEATURES, 0.0, 0.0)
    return [norm, helper.make_node("Identity", ["extra.norm"], ["extra"])]


def _outlier_norm(graph: onnx.GraphProto) -> list[onnx.NodeProto]:
    """Return relu(norm - 3): silent in batches of ten, in which nothing is 3 sigma away."""
    norm = _norm_of(graph, FEATURES, 10.0, -10 * UNLIKELY)
    return [norm, helper.make_node("Relu", ["extra.norm"], ["extra"])]


def _mixed(share: float) -> onnx.ModelProto:
    """Return the last norm as a mixture of inference and a share of training."""
    model, node = _with_last_norm()
    eval_norm, train_norm = _copy(node, "eval"), _copy(node, "train")
    train_norm.name = "mixed_in"
    _train(train_norm)
    for name, value in (("share", share), ("rest", 1 - share)):
        model.graph.initializer.append(numpy_helper.from_array(np.array(value, np.float32), name))
    _replace(
        model.graph,
        node,
        eval_norm,
        train_norm,
        helper.make_node("Mul", ["train", "share"], ["train.part"]),
        helper.make_node("Mul", ["eval", "rest"], ["eval.part"]),
        helper.make_node("Add", ["train.part", "eval.part"], [LOGITS]),
    )
    return model


def _mean_of_large_batches() -> onnx.ModelProto:
    """Return the graph less the batch's mean logits where the batch is large."""
    model, node = _with_last_norm()
    norm = _copy(node, "plain")
    condition = _is_large(model.graph, LARGEST_TESTED)
    axes = numpy_helper.from_array(np.array([0], np.int64), "axes")
    model.graph.initializer.append(axes)
    zero = numpy_helper.from_array(np.array(0, np.float32), "zero")
    model.graph.initializer.append(zero)
    _replace(
        model.graph,
        node,
        norm,
        helper.make_node("ReduceMean", ["plain", "axes"], ["mean"]),
        helper.make_node("Where", [condition, "mean", "zero"], ["taken"]),
        helper.make_node("Sub", ["plain", "taken"], [LOGITS]),
    )
    return model
