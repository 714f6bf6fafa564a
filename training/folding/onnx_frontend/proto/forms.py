"""Forms of the format that the reader does not know, in forms that it does.

    sparse tensors          dense: a folded weight is dense anyway
    sizes of -1 and 0       free, as Paddle2ONNX and others mean them; a constant's own are exact
    a name for each Constant's tensor is not asked for

What no tensor can hold, a map of classes to numbers, is refused with its remedy.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
from onnx import numpy_helper

from training.errors import FoldError

OWN_VALUES = ("input", "output", "value_info")


def make_readable(path: Path, model: onnx.ModelProto) -> None:
    """Change a model in place; `path` is what messages call it.

    Raises:
        FoldError: it returns or takes maps, or a sparse tensor is none.
    """
    for graph in _graphs(model.graph):
        for sparse in graph.sparse_initializer:
            graph.initializer.append(_dense(path, sparse))
        graph.ClearField("sparse_initializer")
        for field in OWN_VALUES:
            for value in getattr(graph, field):
                _refuse_maps(path, value)
                _free_sizes(value.type)
        for node in graph.node:
            _make_attributes_dense(path, node)
    for function in model.functions:
        for node in function.node:
            _make_attributes_dense(path, node)


def _graphs(graph: onnx.GraphProto) -> Iterator[onnx.GraphProto]:
    yield graph
    for node in graph.node:
        for attribute in node.attribute:
            for body in (attribute.g, *attribute.graphs):
                if body.node or body.output:
                    yield from _graphs(body)


def _make_attributes_dense(path: Path, node: onnx.NodeProto) -> None:
    for attribute in node.attribute:
        if attribute.type == onnx.AttributeProto.SPARSE_TENSOR:
            dense = onnx.helper.make_attribute("value", _dense(path, attribute.sparse_tensor))
            attribute.CopyFrom(dense)


def _dense(path: Path, sparse: onnx.SparseTensorProto) -> onnx.TensorProto:
    """Return a tensor with zeros where the sparse one has nothing.

    Its indices are places in the flat tensor (K,), or coordinates (K, rank).
    """
    name = sparse.values.name
    try:
        values = numpy_helper.to_array(sparse.values)
        indices = numpy_helper.to_array(sparse.indices)
        dense = np.zeros(tuple(sparse.dims), values.dtype)
        if indices.ndim == 1:
            dense.reshape(-1)[indices] = values
        else:
            dense[tuple(indices.T)] = values
    except (ValueError, IndexError, TypeError) as error:
        raise FoldError(
            f"{path}: the sparse tensor {name!r} of shape {tuple(sparse.dims)} is damaged "
            f"({error}); export the network with dense weights"
        ) from error
    return numpy_helper.from_array(dense, name)


def _free_sizes(kind: onnx.TypeProto) -> None:
    which = kind.WhichOneof("value")
    if which in ("sequence_type", "optional_type"):
        _free_sizes(getattr(kind, which).elem_type)
    elif which in ("tensor_type", "sparse_tensor_type"):
        for size in getattr(kind, which).shape.dim:
            if size.HasField("dim_value") and size.dim_value <= 0:
                size.ClearField("dim_value")


def _refuse_maps(path: Path, value: onnx.ValueInfoProto) -> None:
    kind, holds = value.type, ""
    while kind.WhichOneof("value") in ("sequence_type", "optional_type"):
        which = kind.WhichOneof("value")
        holds, kind = f"{which.removesuffix('_type')} of ", getattr(kind, which).elem_type
    if kind.HasField("map_type"):
        what = f"a {holds}maps" if holds else "a map"
        raise FoldError(
            f"{path}: {value.name!r} is {what}, which folding does not read; take ZipMap away "
            "from the network, so that it returns the numbers themselves"
        )
