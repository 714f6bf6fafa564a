"""Batch norms in training mode, found in the bytes of an ONNX file.

Serving must not need the onnx package, and onnxruntime does not show a graph's attributes. The
little that is needed of the protobuf wire format is here: a message is a sequence of fields, each
a varint `number << 3 | wire_type` and a value. Field numbers are those of onnx.proto3.

Reference:
    https://protobuf.dev/programming-guides/encoding/
    https://github.com/onnx/onnx/blob/main/onnx/onnx.proto3
"""

from __future__ import annotations

from collections.abc import Iterator

VARINT, FIXED64, LENGTH_DELIMITED, FIXED32 = 0, 1, 2, 5

MODEL_GRAPH, MODEL_FUNCTIONS = 7, 25
GRAPH_NODE, FUNCTION_NODE = 1, 7
NODE_OUTPUT, NODE_NAME, NODE_OP_TYPE, NODE_ATTRIBUTE = 2, 3, 4, 5
ATTRIBUTE_NAME, ATTRIBUTE_INT, ATTRIBUTE_GRAPH, ATTRIBUTE_GRAPHS, ATTRIBUTE_REFERENCE = (
    1,
    3,
    6,
    11,
    21,
)


class WireError(ValueError):
    """The bytes are no protobuf message."""


def training_batch_norms(model: bytes) -> list[str]:
    """Return the names of the BatchNormalization nodes that would normalize by their batch.

    From opset 14 on these have `training_mode` set; before that, they have more than one output.
    Nodes of subgraphs and of functions count too.

    Raises:
        WireError: the bytes are no protobuf message.
    """
    names = []
    for node in _nodes(memoryview(model)):
        fields = list(_fields(node))
        if _texts(fields, NODE_OP_TYPE) == ["BatchNormalization"] and _trains(fields):
            outputs = _texts(fields, NODE_OUTPUT)
            names.append("".join(_texts(fields, NODE_NAME)) or "".join(outputs[:1]))
    return names


Field = tuple[int, int | memoryview]


def _nodes(model: memoryview) -> Iterator[memoryview]:
    for number, value in _fields(model):
        if number == MODEL_GRAPH:
            yield from _graph_nodes(_message(value), GRAPH_NODE)
        elif number == MODEL_FUNCTIONS:
            yield from _graph_nodes(_message(value), FUNCTION_NODE)


def _graph_nodes(graph: memoryview, node_field: int) -> Iterator[memoryview]:
    for number, value in _fields(graph):
        if number != node_field:
            continue
        node = _message(value)
        yield node
        for attribute in _messages(_fields(node), NODE_ATTRIBUTE):
            for number_inside, subgraph in _fields(attribute):
                if number_inside in (ATTRIBUTE_GRAPH, ATTRIBUTE_GRAPHS):
                    yield from _graph_nodes(_message(subgraph), GRAPH_NODE)


def _trains(fields: list[Field]) -> bool:
    if len(_texts(fields, NODE_OUTPUT)) > 1:
        return True
    for attribute in _messages(fields, NODE_ATTRIBUTE):
        inner = list(_fields(attribute))
        if _texts(inner, ATTRIBUTE_NAME) == ["training_mode"]:
            # A reference takes its value from the caller of a function: refused unseen.
            return any(
                (number == ATTRIBUTE_INT and value != 0) or number == ATTRIBUTE_REFERENCE
                for number, value in inner
            )
    return False


def _messages(fields: list[Field] | Iterator[Field], number: int) -> Iterator[memoryview]:
    return (_message(value) for found, value in fields if found == number)


def _texts(fields: list[Field], number: int) -> list[str]:
    return [bytes(text).decode("utf-8", "replace") for text in _messages(fields, number)]


def _message(value: int | memoryview) -> memoryview:
    if isinstance(value, int):
        raise WireError("a number stands where ONNX has a message")
    return value


def _fields(message: memoryview) -> Iterator[Field]:
    position = 0
    while position < len(message):
        key, position = _varint(message, position)
        number, wire_type = key >> 3, key & 7
        if wire_type == VARINT:
            value, position = _varint(message, position)
            yield number, value
            continue
        size, position = _size(message, position, wire_type)
        if position + size > len(message):
            raise WireError(f"field {number} announces {size} bytes beyond the end")
        yield number, message[position : position + size]
        position += size


def _size(message: memoryview, position: int, wire_type: int) -> tuple[int, int]:
    if wire_type == LENGTH_DELIMITED:
        return _varint(message, position)
    if wire_type in (FIXED64, FIXED32):
        return (8 if wire_type == FIXED64 else 4), position
    raise WireError(f"wire type {wire_type} is not used by ONNX")


def _varint(message: memoryview, position: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        if position >= len(message):
            break
        byte = message[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, position
    raise WireError("a number does not end")
