"""A classifier's graph as it is served: image bytes in, logits and probabilities out.

    image uint8 (N, H, W, C) ─► [NCHW] ─► [BGR] ─► float32 ─► [- mean] ─► [/ deviation] ─► network
          logits ◄── [Flatten] ◄── scores ──► Softmax ──► probabilities

What is in brackets is there where the network needs it. Of a network that ends in a softmax the
logits are what goes into it; of other probabilities p they are log max(p, 1e-12).
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np
import onnx
import onnx_ir as ir

from models.tensors import INPUT_NAME, SCORE_NAMES
from training.errors import ExportError
from training.folding.onnx_frontend.shapes import infer_shapes
from training.release.packing.classifier import Classifier, Scores
from training.release.packing.pipeline import Pipeline

SMALLEST = 1e-12  # probability whose logarithm is taken
THROUGH = ("Identity", "Cast", "Flatten", "Reshape", "Squeeze")  # they leave scores what they are
BATCH = "N"


class _Builder:
    """Adds nodes in front of a graph or at its end."""

    def __init__(self, model: ir.Model) -> None:
        self.graph = model.graph
        self.nodes: list[ir.Node] = []

    def node(
        self, kind: str, inputs: Sequence[ir.Value], name: str, **attributes: int | list[int]
    ) -> ir.Value:
        """Add a node and return its output."""
        made = ir.node(kind, inputs, attributes=attributes, name=name)
        made.outputs[0].name = name
        self.nodes.append(made)
        return made.outputs[0]

    def constant(self, name: str, values: np.ndarray) -> ir.Value:
        """Add an initializer."""
        value = ir.Value(name=name, const_value=ir.tensor(values, name=name))
        value.type = ir.TensorType(ir.DataType.from_numpy(values.dtype))
        value.shape = ir.Shape(values.shape)
        self.graph.register_initializer(value)
        return value


def served_graph(
    classifier: Classifier, pipeline: Pipeline, classes: int, scores: Scores
) -> onnx.ModelProto:
    """Return the graph that is served, its batch norms as they are.

    `classes` is how many there are, `scores` what the network's output is.
    """
    model = ir.external_data.load_to_model(classifier.model.clone())
    image = next(value for value in model.graph.inputs if value.name == classifier.input.name)
    output = next(value for value in model.graph.outputs if value.name == classifier.scores.name)
    _free_names(model, (INPUT_NAME, *SCORE_NAMES))
    _put_pixels_in_front(model, image, classifier, pipeline)
    _put_scores_behind(model, output, classes, scores)
    for value in _values(model):  # sizes that were of another batch, or free
        if not (value.is_graph_input() or value.is_graph_output() or value.is_initializer()):
            value.shape = None
    infer_shapes(model)
    model.producer_name, model.producer_version = "foldnorm", ""
    model.metadata_props.clear()
    model.doc_string = ""
    return ir.to_proto(model)


def _free_names(model: ir.Model, names: Sequence[str]) -> None:
    """Rename the values that have the names of ours."""
    taken = {str(value.name) for value in _values(model)}
    for value in _values(model):
        if value.name in names:
            fresh = (f"{value.name}_{n}" for n in itertools.count(1))
            value.name = next(name for name in fresh if name not in taken)
            taken.add(value.name)


def _values(model: ir.Model) -> list[ir.Value]:
    found: dict[ir.Value, None] = {}
    for graph in model.graphs():
        found |= dict.fromkeys([*graph.inputs, *graph.initializers.values()])
        found |= dict.fromkeys(value for node in graph for value in node.outputs)
    return list(found)


def _put_pixels_in_front(
    model: ir.Model, image: ir.Value, classifier: Classifier, pipeline: Pipeline
) -> None:
    build, count = _Builder(model), pipeline.channel_count
    pixels = ir.Value(
        name=INPUT_NAME,
        type=ir.TensorType(ir.DataType.UINT8),
        shape=ir.Shape([BATCH, *classifier.size, count]),
    )
    value = pixels
    if classifier.layout == "NCHW":
        value = build.node("Transpose", [value], "image_nchw", perm=[0, 3, 1, 2])
    if pipeline.channels == "BGR":
        order = build.constant("bgr", np.array([2, 1, 0], np.int64))
        axis = 1 if classifier.layout == "NCHW" else 3
        value = build.node("Gather", [value, order], "image_bgr", axis=axis)
    value = build.node("Cast", [value], "image_float", to=int(ir.DataType.FLOAT))
    for kind, name, numbers, neutral in (
        ("Sub", "mean", pipeline.mean, 0.0),
        ("Div", "deviation", pipeline.deviation, 1.0),
    ):
        if any(one != neutral for one in numbers):
            vector = np.array(numbers, np.float32)
            shaped = vector.reshape((1, -1, 1, 1) if classifier.layout == "NCHW" else (1, 1, 1, -1))
            number = build.constant(f"image_{name}", shaped)
            value = build.node(kind, [value, number], f"image_{kind.lower()}")
    ir.convenience.replace_all_uses_with(image, value)
    first = next(iter(model.graph))
    model.graph.insert_before(first, build.nodes)
    model.graph.inputs[:] = [pixels, *(one for one in model.graph.inputs if one is not image)]


def _put_scores_behind(
    model: ir.Model,
    output: ir.Value,
    classes: int,
    scores: Scores,
) -> None:
    build = _Builder(model)
    if scores == "logits":
        logits = _flat(build, output, "logits_flat")
        probabilities = build.node("Softmax", [logits], "scores_softmax", axis=1)
    else:
        probabilities = _flat(build, output, "probabilities_flat")
        last = _last(output)
        if last is not None and last.op_type == "Softmax" and last.inputs[0] is not None:
            logits = _flat(build, last.inputs[0], "logits_flat")
        else:
            least = build.constant("smallest_probability", np.array(SMALLEST, np.float32))
            safe = build.node("Max", [probabilities, least], "safe_probabilities")
            logits = build.node("Log", [safe], "log_probabilities")
    model.graph.extend(build.nodes)
    results = dict(zip(SCORE_NAMES, (logits, probabilities), strict=True))
    for name, value in results.items():
        value.name = name
        value.type = ir.TensorType(ir.DataType.FLOAT)
        value.shape = ir.Shape([BATCH, classes])
    model.graph.outputs[:] = list(results.values())


def kind_of_scores(classifier: Classifier, stated: Scores | None) -> Scores:
    """Return what a network's output is, as stated or as its last node tells.

    Raises:
        ExportError: it is the score of several labels at once, or not what is stated.
    """
    last = _last(classifier.scores)
    kind = None if last is None else last.op_type
    if kind == "Sigmoid" and stated is None:
        raise ExportError(
            f"{classifier.source}: the scores come out of a Sigmoid, one for each of several "
            "labels at once; only networks of one label an image can be packed"
        )
    if kind in ("Softmax", "LogSoftmax"):
        found: Scores = "probabilities" if kind == "Softmax" else "logits"
        if stated not in (None, found):
            raise ExportError(
                f"{classifier.source}: --scores {stated}, but they come out of a {kind}; leave "
                "--scores out"
            )
        return found
    return stated or "logits"


def _last(output: ir.Value) -> ir.Node | None:
    """Return the node that makes the scores what they are."""
    node = output.producer()
    while node is not None and node.op_type in THROUGH and node.inputs[0] is not None:
        node = node.inputs[0].producer()
    return node


def _flat(build: _Builder, value: ir.Value, name: str) -> ir.Value:
    """Return scores as (N, classes)."""
    if value.shape is not None and value.shape.rank() == 2:
        return value
    return build.node("Flatten", [value], name, axis=1)
