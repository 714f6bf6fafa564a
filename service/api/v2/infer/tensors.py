"""The elements of an input: pixels, or image files, from JSON or from bytes."""

from __future__ import annotations

import base64
import binascii
import math
from collections.abc import Sequence
from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import NDArray

from service.api.v2.responses import shown
from service.errors import MalformedRequestError

LENGTH_BYTES = 4


def pixels_from_bytes(data: memoryview, shape: Sequence[int]) -> NDArray[np.uint8]:
    """Return bytes as a tensor of this shape, without a copy.

    Raises:
        MalformedRequestError: the shape has another number of elements.
    """
    wanted = math.prod(shape)
    if len(data) != wanted:
        raise MalformedRequestError(
            f"the input has {len(data):,} bytes and its shape {list(shape)} takes {wanted:,}; "
            "send one byte per element"
        )
    return np.frombuffer(data, np.uint8).reshape(shape)


def pixels_from_json(data: Any, shape: Sequence[int], *, may_have_bools: bool) -> NDArray[np.uint8]:
    """Return a tensor from numbers that are nested as its shape says, or flat in row-major order.

    `may_have_bools` says that the text has the word true or false somewhere: only then is each
    element asked for its type, for `bytes` takes a bool for 0 or 1 and refuses all the others.

    Raises:
        MalformedRequestError: other numbers of elements than the shape's, or other elements than
            whole numbers from 0 to 255.
    """
    flat = _flatten(data, shape)
    if may_have_bools and bool in set(map(type, flat)):
        raise MalformedRequestError("a bool is no pixel; send whole numbers from 0 to 255")
    try:
        values = bytes(flat)
    except (TypeError, ValueError) as exc:
        culprit = next(value for value in flat if not _is_pixel(value))
        raise MalformedRequestError(
            f"{shown(culprit)} is no pixel; UINT8 takes whole numbers from 0 to 255"
        ) from exc
    return np.frombuffer(values, np.uint8).reshape(shape)


def files_from_bytes(data: memoryview, count: int) -> list[bytes]:
    """Return the elements of a BYTES tensor: each is its length, 4 bytes little-endian, and it.

    Raises:
        MalformedRequestError: the bytes are not exactly that many elements.
    """
    files: list[bytes] = []
    position = 0
    for index in range(count):
        start = position + LENGTH_BYTES
        size = int.from_bytes(data[position:start], "little")
        position = start + size
        if position > len(data):
            raise MalformedRequestError(
                f"element {index} of {count} ends at byte {position:,} of {len(data):,}; send "
                "each as its length in 4 bytes, little-endian, and its bytes"
            )
        files.append(bytes(data[start:position]))
    if position != len(data):
        raise MalformedRequestError(
            f"{len(data) - position:,} bytes follow the last of {count} elements; make the shape "
            "count all of them"
        )
    return files


def files_from_base64(data: Any, count: int) -> list[bytes]:
    """Return image files from their base64 texts.

    Raises:
        MalformedRequestError: another number of texts, or something that is no base64.
    """
    if not isinstance(data, list) or len(data) != count:
        found = f"{len(data):,} elements" if isinstance(data, list) else shown(data)
        raise MalformedRequestError(f"the data is {found}; the shape [{count}] takes a list of it")
    return [_from_base64(text, index) for index, text in enumerate(data)]


def _from_base64(text: Any, index: int) -> bytes:
    if not isinstance(text, str):
        raise MalformedRequestError(f"element {index} is {shown(text)}; send base64 as a string")
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as exc:
        raise MalformedRequestError(f"element {index} is not base64: {exc}") from exc


def _flatten(data: Any, shape: Sequence[int]) -> list[Any]:
    """Return the elements as one list; each level of nesting is as long as the shape says."""
    if not isinstance(data, list):
        raise MalformedRequestError(f"the data is {shown(data)}; send a list of numbers")
    if not data or not isinstance(data[0], list):
        _check_count(len(data), math.prod(shape), shape)
        return data
    _check_count(len(data), shape[0], shape)
    level = data
    for size in shape[1:]:
        if set(map(type, level)) != {list} or set(map(len, level)) != {size}:
            raise MalformedRequestError(
                f"the data is not nested as its shape {list(shape)} says; nest it so, or send it "
                "flat in row-major order"
            )
        level = list(chain.from_iterable(level))
    return level


def _check_count(found: int, wanted: int, shape: Sequence[int]) -> None:
    if found != wanted:
        raise MalformedRequestError(
            f"the data lists {found:,} elements; its shape {list(shape)} takes {wanted:,}"
        )


def _is_pixel(value: Any) -> bool:
    return type(value) is int and 0 <= value <= 255
