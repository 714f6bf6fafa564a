"""ONNX files: what is read is whole, what is written is written completely or not at all.

A file is written tensor by tensor, so that a network is never in memory a second time. That is the
protobuf encoding that every reader knows: the fields of the model, then one field for the graph,
whose length is computed first, with one field for each initializer in it.

Reference:
    protobuf.dev, "Encoding"; onnx.proto: ModelProto.graph = 7, GraphProto.initializer = 5,
    TensorProto.raw_data = 9.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

import onnx
import onnx_ir as ir
from google.protobuf.message import DecodeError

from training.errors import FoldError
from training.evaluation.onnx_runner import first_line
from training.folding.onnx_frontend.proto.checks import check_graphs
from training.folding.onnx_frontend.proto.forms import make_readable

LIMIT_BYTES = 2**31 - 1  # of one protobuf message
GRAPH, INITIALIZER, RAW_DATA = 7, 5, 9
OLDEST_OPSET, NEWEST_OPSET = 7, 26
REMEDY = "export the network again"


def read_model(path: Path) -> ir.Model:
    """Return a model; weights in other files are mapped, not read.

    Raises:
        FoldError: it is missing, damaged or no model; the message says what to do.
    """
    if not path.is_file():
        raise FoldError(f"{path}: no such file; give the path of an ONNX file")
    if path.stat().st_size > LIMIT_BYTES:
        raise FoldError(
            f"{path}: {path.stat().st_size:,} bytes, and one ONNX file holds at most "
            f"{LIMIT_BYTES:,}; export the network with its weights as external data"
        )
    try:
        proto = onnx.load(path, load_external_data=False)
    except (DecodeError, ValueError, TypeError, KeyError, OSError) as error:
        raise _damaged(path, error) from error
    model = parse_model(path, proto)
    ir.external_data.set_base_dir(model.graph, path.parent)
    check_model(path, model)
    return model


def parse_model(path: Path, proto: onnx.ModelProto) -> ir.Model:
    """Return a model of what a file holds; `path` is what messages call it.

    `proto` is changed into forms that can be read.

    Raises:
        FoldError: it is damaged, or holds what no tensor can.
    """
    make_readable(path, proto)
    check_graphs(path, proto)
    try:
        return ir.from_proto(proto)
    except Exception as error:  # damage shows as any of a dozen kinds
        raise _damaged(path, error) from error


def _damaged(path: Path, error: Exception) -> FoldError:
    return FoldError(f"{path}: no ONNX model, or a damaged one ({first_line(error)}); {REMEDY}")


def check_model(path: Path, model: ir.Model) -> None:
    """Refuse a model that cannot be folded or run; `path` is what messages call it.

    Raises:
        FoldError: its opset is not known, or weights are missing or too short.
    """
    if not model.graph.outputs:
        raise FoldError(f"{path}: no ONNX model, or one without outputs; {REMEDY}")
    opset = model.graph.opset_imports.get("")
    if opset is None or not OLDEST_OPSET <= opset <= NEWEST_OPSET:
        raise FoldError(
            f"{path}: opset {opset}, and {OLDEST_OPSET} to {NEWEST_OPSET} are known; export the "
            "network with one of these"
        )
    for external in external_tensors(model):
        _check_external(path, external)
    for tensor in _tensors(model):
        _check_length(path, tensor)


def external_tensors(model: ir.Model) -> Iterator[ir.ExternalTensor]:
    """Yield the tensors whose bytes are in other files."""
    for tensor in _tensors(model):
        if isinstance(tensor, ir.ExternalTensor):
            yield tensor


def _tensors(model: ir.Model) -> Iterator[ir.TensorProtocol]:
    for graph in model.graphs():
        for value in graph.initializers.values():
            if value.const_value is not None:
                yield value.const_value


def _check_length(path: Path, tensor: ir.TensorProtocol) -> None:
    """Refuse a tensor that has not as many bytes as its shape says."""
    proto = getattr(tensor, "raw", None)
    if not isinstance(proto, onnx.TensorProto) or not proto.HasField("raw_data"):
        return
    found = len(proto.raw_data)
    if found != tensor.nbytes:
        raise FoldError(
            f"{path}: the weights {tensor.name!r} have {found:,} bytes, and their shape needs "
            f"{tensor.nbytes:,}; {REMEDY}"
        )


def _check_external(path: Path, tensor: ir.ExternalTensor) -> None:
    """Refuse files that are missing, too short or outside of the model's folder."""
    data = Path(os.fspath(tensor.base_dir), os.fspath(tensor.location))
    if not data.resolve().is_relative_to(path.resolve().parent):
        raise FoldError(
            f"{path}: the weights {tensor.name!r} lie in {tensor.location}, outside of the "
            "model's folder; put that file beside the model"
        )
    needed = (tensor.offset or 0) + tensor.nbytes
    if not data.is_file() or data.stat().st_size < needed:
        found = f"has {data.stat().st_size:,} bytes" if data.is_file() else "is missing"
        raise FoldError(
            f"{path}: the weights {tensor.name!r} need {needed:,} bytes of {tensor.location}, "
            f"which {found}; copy the model with all its files"
        )


def write_model(model: ir.Model, path: Path, check: Callable[[Path], None] | None = None) -> None:
    """Write a model, with its weights in `NAME.data` beside it if one file cannot hold them.

    `check` is given the finished file before it takes the place of another, and may raise.

    Raises:
        FoldError: it cannot be written; what was there before is still there.
    """
    try:
        with tempfile.TemporaryDirectory(prefix=".foldnorm-", dir=path.parent) as folder:
            draft = Path(folder, path.name)
            _write(model, draft)
            if check is not None:
                check(draft)
            for file in sorted(Path(folder).iterdir(), reverse=True):  # the data first
                file.replace(path.parent / file.name)
    except OSError as error:
        raise FoldError(f"{path}: cannot be written ({error.strerror or error})") from error


def _write(model: ir.Model, path: Path) -> None:
    if _weight_bytes(model) > LIMIT_BYTES // 2:
        ir.save(model, path, external_data=f"{path.name}.data")
    else:
        with path.open("wb") as file:
            _stream(model, file)
    for written in path.parent.iterdir():
        with written.open("rb") as file:
            os.fsync(file.fileno())


def _weight_bytes(model: ir.Model) -> int:
    return sum(tensor.nbytes for tensor in _tensors(model))


def _stream(model: ir.Model, file: BinaryIO) -> None:
    """Write a model with one tensor in memory at a time."""
    held = dict(model.graph.initializers)
    model.graph.initializers.clear()
    try:
        skeleton = ir.to_proto(model)
    finally:
        model.graph.initializers.update(held)
    graph = skeleton.graph.SerializeToString()
    skeleton.ClearField("graph")
    tensors = {n: v.const_value for n, v in held.items() if v.const_value is not None}
    heads = [_head(name, tensor) for name, tensor in tensors.items()]
    parts = zip(heads, tensors.values(), strict=True)
    sizes = [len(head) + _data_bytes(tensor) for head, tensor in parts]
    whole = len(graph) + sum(len(_prefix(INITIALIZER, size)) + size for size in sizes)
    file.write(skeleton.SerializeToString())
    file.write(_prefix(GRAPH, whole))
    file.write(graph)
    for tensor, head, size in zip(tensors.values(), heads, sizes, strict=True):
        file.write(_prefix(INITIALIZER, size))
        file.write(head)
        if _data_bytes(tensor):
            file.write(_prefix(RAW_DATA, tensor.nbytes))
            file.write(tensor.tobytes())


def _head(name: str, tensor: ir.TensorProtocol) -> bytes:
    """Return all of a tensor but its numbers, with its texts where it holds those.

    A tensor's own name may be another one: where a Constant held it, or none.
    """
    head = onnx.TensorProto(
        dims=[int(size) for size in tensor.shape.numpy()],
        data_type=tensor.dtype.value,
        name=name,
        doc_string=tensor.doc_string or None,
        string_data=tensor.numpy().reshape(-1) if _is_text(tensor) else None,
    )
    for key, value in tensor.metadata_props.items():
        head.metadata_props.add(key=key, value=value)
    serialized: bytes = head.SerializeToString()
    return serialized


def _data_bytes(tensor: ir.TensorProtocol) -> int:
    """Return the length of the field that holds a tensor's numbers; 0 if it holds texts."""
    return 0 if _is_text(tensor) else len(_prefix(RAW_DATA, tensor.nbytes)) + tensor.nbytes


def _is_text(tensor: ir.TensorProtocol) -> bool:
    return tensor.dtype == ir.DataType.STRING


def _prefix(field: int, length: int) -> bytes:
    """Return tag and length of a field of bytes."""
    return bytes([field << 3 | 2]) + _varint(length)


def _varint(number: int) -> bytes:
    """Return a number seven bits a byte, the lowest first."""
    encoded = bytearray()
    while number > 0x7F:
        encoded.append(number & 0x7F | 0x80)
        number >>= 7
    encoded.append(number)
    return bytes(encoded)


def check_output(model: Path, output: Path, *, force: bool) -> None:
    """Refuse to lose a file.

    Raises:
        FoldError: the output is the model, or is there and may not be replaced.
    """
    if not output.parent.is_dir():
        raise FoldError(f"{output.parent}: no such folder; make it, or choose another output")
    if output.exists() and model.exists() and output.samefile(model):
        raise FoldError(f"{output}: is the model itself; choose another output")
    if output.exists() and not force:
        raise FoldError(f"{output}: exists; choose another output, or replace it with --force")
