"""Whether a model is whole: all that is read is made, once, and operators get what they take.

That is less than onnx.checker asks: operators that it does not know, and models that onnxruntime
runs all the same, are let through.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import onnx
from google.protobuf.message import Message
from onnx.onnx_cpp2py_export.checker import CheckerContext

from training.errors import FoldError
from training.evaluation.onnx_runner import first_line

REMEDY = "export the network again"
STANDARD = ("", "ai.onnx")
UNCHECKED = ("Constant", "If", "Loop", "Scan", "SequenceMap")  # large, or their bodies are checked


def check_graphs(path: Path, model: onnx.ModelProto) -> None:
    """Refuse a damaged model; `path` is what messages call it.

    Raises:
        FoldError: a tensor is read that nothing makes, is made twice, or a node has not what its
            operator takes.
    """
    _check_texts(path, model)
    _check_graph(path, model.graph, frozenset(), _context(model, model.opset_import))
    for function in model.functions:
        own = _context(model, function.opset_import)
        _check_nodes(path, function.node, set(function.input), own)


def _context(model: onnx.ModelProto, opsets: Iterable[onnx.OperatorSetIdProto]) -> CheckerContext:
    context = CheckerContext()
    context.ir_version = min(model.ir_version, onnx.IR_VERSION)
    context.opset_imports = {one.domain: one.version for one in opsets}
    return context


def _check_texts(path: Path, message: Message) -> None:
    """Refuse texts that are not UTF-8, which protobuf gives as bytes."""
    for field, value in message.ListFields():
        if field.type == field.TYPE_STRING:
            for text in [value] if isinstance(value, str | bytes) else value:
                if isinstance(text, bytes):
                    raise FoldError(
                        f"{path}: the text {text!r} ({field.name}) is not UTF-8; {REMEDY}"
                    )
        elif field.type == field.TYPE_MESSAGE:
            for inner in [value] if isinstance(value, Message) else value:
                _check_texts(path, inner)


def _check_graph(
    path: Path,
    graph: onnx.GraphProto,
    outer: frozenset[str],
    context: CheckerContext,
) -> None:
    for tensor in graph.initializer:
        if tensor.data_type == onnx.TensorProto.UNDEFINED:
            raise FoldError(f"{path}: the weights {tensor.name!r} have no type; {REMEDY}")
    for declared in (graph.input, graph.initializer):
        (name, count), *_ = Counter(one.name for one in declared).most_common(1) or [("", 0)]
        if count > 1:
            raise FoldError(f"{path}: {name!r} is declared {count} times; {REMEDY}")
    known = {one.name for one in (*graph.input, *graph.initializer)} | outer
    known |= {one.values.name for one in graph.sparse_initializer}
    made = _check_nodes(path, graph.node, known, context)
    for output in graph.output:
        if output.name not in made:
            raise FoldError(
                f"{path}: the output {output.name!r} is made by no node, so it is no ONNX model, "
                f"or a damaged one; {REMEDY}"
            )


def _check_nodes(
    path: Path,
    nodes: Iterable[onnx.NodeProto],
    known: set[str],
    context: CheckerContext,
) -> set[str]:
    """Return what is known after the nodes."""
    known, own = set(known), set[str]()
    for node in nodes:
        name = f"{node.name or next(iter(node.output), '')} ({node.op_type})"
        missing = next((one for one in node.input if one and one not in known), None)
        if missing is not None:
            raise FoldError(
                f"{path}: {name} reads {missing!r}, which nothing makes before it, so it is no "
                f"ONNX model, or a damaged one; {REMEDY}"
            )
        for output in filter(None, node.output):
            if output in own:
                raise FoldError(
                    f"{path}: {output!r} is made twice, so it is no ONNX model, or a damaged one; "
                    f"{REMEDY}"
                )
            own.add(output)
        _check_node(path, name, node, context)
        for attribute in node.attribute:
            for body in (attribute.g, *attribute.graphs):
                if body.node or body.output:
                    _check_graph(path, body, frozenset(known), context)
        known |= own
    return known


def _check_node(path: Path, name: str, node: onnx.NodeProto, context: CheckerContext) -> None:
    """Refuse a node that has not what its operator takes; one that is not known is let through."""
    if node.domain not in STANDARD or node.op_type in UNCHECKED:
        return
    try:
        onnx.checker.check_node(node, context)
    except (onnx.checker.ValidationError, UnicodeDecodeError) as error:
        if "No Op registered" not in str(error):
            raise FoldError(
                f"{path}: {name} is no valid node ({first_line(error)}); {REMEDY}"
            ) from error
