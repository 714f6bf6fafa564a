"""One array in any of the forms that the format has for a constant."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

Array = NDArray[Any]


@dataclass
class Written:
    """What stands for constants in a graph: nodes that come first, and fields of the graph."""

    nodes: list[onnx.NodeProto] = field(default_factory=list)
    initializers: list[onnx.TensorProto] = field(default_factory=list)
    sparse: list[onnx.SparseTensorProto] = field(default_factory=list)
    inputs: list[onnx.ValueInfoProto] = field(default_factory=list)

    def __iadd__(self, other: Written) -> Written:
        self.nodes += other.nodes
        self.initializers += other.initializers
        self.sparse += other.sparse
        self.inputs += other.inputs
        return self

    def initializer(self, array: Array, name: str) -> str:
        self.initializers.append(numpy_helper.from_array(array.copy("C"), name))
        return name

    def node(self, kind: str, inputs: list[str], name: str, **attributes: Any) -> None:
        self.nodes.append(helper.make_node(kind, inputs, [name], name=f"{name}_node", **attributes))


def written(array: Array, name: str, form: str, opset: int) -> Written:
    """Return a constant in a form, or as a plain initializer where the form has no such array."""
    result = Written()
    if not _FORMS[form](result, array, name, opset):
        result.initializer(array, name)
    return result


def _raw(out: Written, array: Array, name: str, opset: int) -> bool:
    return False


def _typed(out: Written, array: Array, name: str, opset: int) -> bool:
    kind = helper.np_dtype_to_tensor_dtype(array.dtype)
    out.initializers.append(helper.make_tensor(name, kind, array.shape, array.reshape(-1).tolist()))
    return True


def _node(out: Written, array: Array, name: str, opset: int) -> bool:
    out.node("Constant", [], name, value=numpy_helper.from_array(array.copy("C")))
    return True


def _plain_values(out: Written, array: Array, name: str, opset: int) -> bool:
    if array.ndim > 1 or not array.size or array.dtype == np.float64 or opset < 12:
        return _node(out, array, name, opset)
    kind = "int" if array.dtype.kind == "i" else "float"
    key = f"value_{kind}s" if array.ndim else f"value_{kind}"
    out.node("Constant", [], name, **{key: array.tolist()})
    return True


def _identity(out: Written, array: Array, name: str, opset: int) -> bool:
    out.node("Identity", [out.initializer(array, f"{name}_source")], f"{name}_copy")
    out.node("Identity", [f"{name}_copy"], name)
    return True


def _cast(out: Written, array: Array, name: str, opset: int) -> bool:
    narrow: dict[str, type] = {"int64": np.int32, "float32": np.float64, "float64": np.float32}
    source = out.initializer(array.astype(narrow[array.dtype.name]), f"{name}_source")
    out.node("Cast", [source], name, to=helper.np_dtype_to_tensor_dtype(array.dtype))
    return True


def _product(out: Written, array: Array, name: str, opset: int) -> bool:
    factor = np.asarray(1 if array.dtype.kind == "i" else 0.25, array.dtype)
    small = out.initializer((array / factor).astype(array.dtype), f"{name}_source")
    out.node("Mul", [out.initializer(factor, f"{name}_factor"), small], name)
    return True


def _reshape(out: Written, array: Array, name: str, opset: int) -> bool:
    if array.size == 0:
        return False
    source = out.initializer(array.reshape(-1), f"{name}_source")
    shape = out.initializer(np.array(array.shape, np.int64), f"{name}_shape")
    out.node("Reshape", [source, shape], name)
    return True


def _concat(out: Written, array: Array, name: str, opset: int) -> bool:
    if array.ndim == 0 or len(array) < 2:
        return False
    parts = [
        out.initializer(part, f"{name}_part{k}") for k, part in enumerate((array[:1], array[1:]))
    ]
    out.node("Concat", parts, name, axis=0)
    return True


def _fill(out: Written, array: Array, name: str, opset: int) -> bool:
    """Equal numbers, as ConstantOfShape or Expand; others as what a node transposes."""
    if array.size == 0 or opset < 9 or not np.all(array == array.flat[0]):
        source = out.initializer(array.T, f"{name}_source")
        out.node("Transpose", [source], name)
        return True
    shape = out.initializer(np.array(array.shape, np.int64), f"{name}_shape")
    if len(name) % 2:
        out.node("Expand", [out.initializer(array.flat[0], f"{name}_number"), shape], name)
    else:
        number = numpy_helper.from_array(array.reshape(-1)[:1])
        out.node("ConstantOfShape", [shape], name, value=number)
    return True


def _sparse(out: Written, array: Array, name: str, opset: int) -> bool:
    if array.ndim == 0 or array.dtype == np.float64:
        return False
    places = np.flatnonzero(array).astype(np.int64)
    values = numpy_helper.from_array(array.reshape(-1)[places], name)
    where = numpy_helper.from_array(places, f"{name}_places")
    out.sparse.append(helper.make_sparse_tensor(values, where, list(array.shape)))
    return True


def _overridable(out: Written, array: Array, name: str, opset: int) -> bool:
    kind = helper.np_dtype_to_tensor_dtype(array.dtype)
    out.inputs.append(helper.make_tensor_value_info(name, kind, array.shape))
    return False


_FORMS: dict[str, Callable[[Written, Array, str, int], bool]] = {
    "raw": _raw,
    "typed": _typed,
    "node": _node,
    "values": _plain_values,
    "identity": _identity,
    "cast": _cast,
    "product": _product,
    "reshape": _reshape,
    "concat": _concat,
    "fill": _fill,
    "sparse": _sparse,
    "overridable": _overridable,
}
FORMS = tuple(_FORMS)
BODY_FORMS = FORMS[:-2]
FUNCTION_FORMS = ("node", "values")
AMOUNTS = ("raw", "typed", "node", "values", "identity", "cast", "concat")
