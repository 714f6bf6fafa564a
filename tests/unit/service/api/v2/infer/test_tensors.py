from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from service.api.v2.infer.tensors import (
    files_from_base64,
    files_from_bytes,
    pixels_from_bytes,
    pixels_from_json,
)
from service.errors import MalformedRequestError

SHAPE = [2, 2, 3]
PIXELS = np.arange(250, 238, -1, dtype=np.uint8).reshape(SHAPE)


def from_json(data: Any) -> Any:
    return pixels_from_json(data, SHAPE, may_have_bools=True)


@pytest.mark.parametrize("value", [-1, 256, 1.0, "1", None, True, False, [1], {}, 2**63])
@pytest.mark.parametrize("nested", [True, False])
def test_anything_but_whole_numbers_up_to_255_is_refused(value: Any, nested: bool) -> None:
    data = PIXELS.ravel().tolist()
    data[-1] = value
    if nested:
        data = [[data[:3], data[3:6]], [data[6:9], data[9:]]]
    with pytest.raises(MalformedRequestError, match=r"is no pixel"):
        from_json(data)


@pytest.mark.parametrize(
    "data",
    [
        [],
        [[]],
        [1] * 11,
        [1] * 13,
        [[1] * 6, [1] * 6],
        [[1] * 3] * 4,
        [[[1] * 3, [1] * 3], [[1] * 3]],
        [[[1] * 3, [1] * 3], [[1] * 3, [1] * 4]],
        [[[1] * 3, [1] * 3], [[1] * 3, 1]],
        [[[1] * 3, [1] * 3], [[1] * 3, "abc"]],
        [[[1] * 3, [1] * 3], 1],
        "abc",
        {},
        1,
    ],
)
def test_data_of_another_shape_is_refused(data: Any) -> None:
    with pytest.raises(MalformedRequestError, match=r"the data (lists|is)"):
        from_json(data)


def test_bytes_become_a_tensor_without_a_copy() -> None:
    buffer = bytearray(PIXELS.tobytes())
    tensor = pixels_from_bytes(memoryview(buffer), SHAPE)
    assert np.array_equal(tensor, PIXELS)
    buffer[0] = 7
    assert tensor[0, 0, 0] == 7


@pytest.mark.parametrize("count", [0, 11, 13])
def test_a_number_of_bytes_that_the_shape_does_not_have_is_refused(count: int) -> None:
    with pytest.raises(MalformedRequestError, match=rf"has {count} bytes and its shape"):
        pixels_from_bytes(memoryview(bytes(count)), SHAPE)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x01",
        b"\x01\x00\x00",
        b"\x02\x00\x00\x00a",
        b"\xff\xff\xff\xffa",
        b"\x00\x00\x00\x02ab",
    ],
)
def test_an_element_that_ends_beyond_the_body_is_refused(data: bytes) -> None:
    with pytest.raises(MalformedRequestError, match=r"element 0 of 1 ends at byte"):
        files_from_bytes(memoryview(data), 1)


def test_bytes_after_the_last_element_are_refused() -> None:
    with pytest.raises(MalformedRequestError, match=r"1 bytes follow the last of 1 elements"):
        files_from_bytes(memoryview(b"\x01\x00\x00\x00ab"), 1)


@pytest.mark.parametrize(
    ("data", "finding"),
    [
        (["YQ=="], "the data is 1 elements"),
        ("YQ==", "the data is 'YQ=='"),
        (["YQ==", 1], "element 1 is 1; send base64"),
        (["YQ==", "!"], "element 1 is not base64"),
        (["é", "YQ=="], "element 0 is not base64"),
    ],
)
def test_anything_but_a_list_of_base64_is_refused(data: Any, finding: str) -> None:
    with pytest.raises(MalformedRequestError, match=finding):
        files_from_base64(data, 2)
