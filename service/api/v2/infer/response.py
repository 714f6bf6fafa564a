"""The answer to an infer request: JSON alone, or JSON and the outputs' bytes after it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np
import orjson

from service.api.v2.datatypes import BYTES, FP32
from service.api.v2.infer.outputs import RequestedOutput, best_labels
from service.api.v2.infer.tensors import LENGTH_BYTES
from service.inference.session import Scores


@dataclass(frozen=True)
class InferAnswer:
    """A body; `header_bytes` is the length of its JSON if anything follows it."""

    body: bytes
    header_bytes: int | None


@dataclass(frozen=True)
class ScoredBy:
    """What an answer says of the model, and of the request that it answers."""

    name: str
    version: str
    labels: Sequence[str]
    request_id: str


def write_infer_answer(
    scores: Scores, outputs: Sequence[RequestedOutput], scored_by: ScoredBy
) -> InferAnswer:
    """Return the outputs in the order and the forms in which they were asked for."""
    entries: list[dict[str, Any]] = []
    tensors: list[bytes | memoryview] = []
    for output in outputs:
        entry, tensor = _write_output(scores, output, scored_by.labels)
        entries.append(entry)
        if tensor is not None:
            tensors.append(tensor)
    table = {
        "model_name": scored_by.name,
        "model_version": scored_by.version,
        "id": scored_by.request_id,
        "outputs": entries,
    }
    text = orjson.dumps(table, option=orjson.OPT_SERIALIZE_NUMPY)
    if not tensors:
        return InferAnswer(text, None)
    return InferAnswer(b"".join([text, *tensors]), len(text))


def _write_output(
    scores: Scores, output: RequestedOutput, labels: Sequence[str]
) -> tuple[dict[str, Any], bytes | memoryview | None]:
    """Return the entry of an output in the JSON, and its bytes if it is binary."""
    values = getattr(scores, output.name)  # (N, C) float32
    if output.classes is None:
        flat = np.ascontiguousarray(values, dtype="<f4").reshape(-1)
        entry = {"name": output.name, "datatype": FP32, "shape": list(values.shape)}
        return _placed(entry, flat, flat.data.cast("B") if output.binary else None)
    rows = best_labels(scores, values, labels, output.classes)
    texts = list(chain.from_iterable(rows))
    entry = {"name": output.name, "datatype": BYTES, "shape": [len(rows), len(rows[0])]}
    return _placed(entry, texts, _length_prefixed(texts) if output.binary else None)


def _placed(
    entry: dict[str, Any], data: Any, tensor: bytes | memoryview | None
) -> tuple[dict[str, Any], bytes | memoryview | None]:
    if tensor is None:
        return {**entry, "data": data}, None
    return {**entry, "parameters": {"binary_data_size": len(tensor)}}, tensor


def _length_prefixed(texts: Sequence[str]) -> bytes:
    encoded = [text.encode() for text in texts]
    return b"".join(len(text).to_bytes(LENGTH_BYTES, "little") + text for text in encoded)
