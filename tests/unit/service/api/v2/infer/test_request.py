from __future__ import annotations

import base64
import gc
import json
from typing import Any

import numpy as np
import pytest

from service.api.v2.infer.outputs import RequestedOutput
from service.api.v2.infer.request import InferRequest, read_infer_request
from service.api.v2.responses import UnsupportedFeatureError
from service.errors import BodyTooLargeError, MalformedRequestError
from service.settings import Limits
from tests.images import SPEC

LIMITS = Limits(max_images=3)
IMAGES = np.random.default_rng(0).integers(0, 256, (2, 32, 32, 3), dtype=np.uint8)
FILES = [b"\x89PNG one", b"\xff\xd8 two"]
BOTH = tuple(RequestedOutput(name, binary=False) for name in ("logits", "probabilities"))
ABSENT = object()


def entry(**changes: Any) -> dict[str, Any]:
    """The input with its data in the JSON, with these changes."""
    fields = {
        "name": "image",
        "datatype": "UINT8",
        "shape": [2, 32, 32, 3],
        "data": IMAGES.tolist(),
        **changes,
    }
    return {key: value for key, value in fields.items() if value is not ABSENT}


def binary_entry(size: Any = IMAGES.nbytes, **changes: Any) -> dict[str, Any]:
    parameters = {} if size is ABSENT else {"binary_data_size": size}
    return entry(data=ABSENT, parameters=parameters, **changes)


def read(table: Any, rest: bytes | None = None, limits: Limits = LIMITS) -> InferRequest:
    text = json.dumps(table).encode()
    header = None if rest is None else str(len(text))
    return read_infer_request(text + (rest or b""), header, limits, SPEC)


def prefixed(files: list[bytes]) -> bytes:
    return b"".join(len(file).to_bytes(4, "little") + file for file in files)


def test_pixels_in_json_are_read_and_all_outputs_are_json() -> None:
    request = read({"inputs": [entry()]})
    assert np.array_equal(request.images, IMAGES)
    assert request.outputs == BOTH
    assert (request.id, request.timeout_us) == (None, None)


def test_pixels_after_the_json_are_read_where_they_lie() -> None:
    request = read({"id": "a", "inputs": [binary_entry()]}, IMAGES.tobytes())
    assert np.array_equal(request.images, IMAGES)
    assert isinstance(request.images, np.ndarray)
    assert not request.images.flags.owndata
    assert not request.images.flags.writeable
    assert request.id == "a"


def test_a_tensor_alone_is_images_and_gets_all_outputs_binary() -> None:
    request = read_infer_request(IMAGES.tobytes(), "0", LIMITS, SPEC)
    assert np.array_equal(request.images, IMAGES)
    assert [(output.name, output.binary) for output in request.outputs] == [
        ("logits", True),
        ("probabilities", True),
    ]


@pytest.mark.parametrize("count", [0, 3071, 3073])
def test_a_tensor_alone_that_is_not_whole_images_is_refused(count: int) -> None:
    with pytest.raises(MalformedRequestError, match=r"the pixels of whole images, 3,072 bytes"):
        read_infer_request(bytes(count), "0", LIMITS, SPEC)


def test_files_after_the_json_are_read() -> None:
    data = prefixed(FILES)
    found = read({"inputs": [binary_entry(len(data), datatype="BYTES", shape=[2])]}, data)
    assert found.images == FILES


def test_the_size_of_binary_data_may_be_left_out() -> None:
    assert np.array_equal(read({"inputs": [binary_entry(ABSENT)]}, IMAGES.tobytes()).images, IMAGES)
    several = binary_entry(ABSENT, datatype="BYTES", shape=[2])
    assert read({"inputs": [several]}, prefixed(FILES)).images == FILES


def test_one_file_without_a_size_needs_no_length_before_it() -> None:
    found = read({"inputs": [binary_entry(ABSENT, datatype="BYTES", shape=[1])]}, FILES[0])
    assert found.images == [FILES[0]]


def test_files_in_json_are_base64_when_the_input_says_so() -> None:
    texts = [base64.b64encode(file).decode() for file in FILES]
    given = entry(datatype="BYTES", shape=[2], data=texts, parameters={"content_type": "base64"})
    assert read({"inputs": [given]}).images == FILES


def test_text_is_no_image_file() -> None:
    given = entry(datatype="BYTES", shape=[2], data=["abc", "def"])
    with pytest.raises(MalformedRequestError, match=r"content_type set to base64"):
        read({"inputs": [given]})


def test_an_empty_file_is_refused_by_its_index() -> None:
    data = prefixed([b"a", b""])
    with pytest.raises(MalformedRequestError, match=r"image 1 of 2 is empty"):
        read({"inputs": [binary_entry(len(data), datatype="BYTES", shape=[2])]}, data)


def test_a_word_like_true_elsewhere_does_no_harm() -> None:
    assert np.array_equal(read({"id": "true", "inputs": [entry()]}).images, IMAGES)


def test_a_bool_among_the_pixels_is_refused() -> None:
    data = IMAGES.ravel().tolist()
    data[5] = True
    with pytest.raises(MalformedRequestError, match=r"a bool is no pixel"):
        read({"inputs": [entry(data=data)]})


@pytest.mark.parametrize(
    ("inputs", "finding"),
    [
        (ABSENT, r"the inputs are \[\]; send one, named 'image'"),
        ([], r"the inputs are \[\]"),
        (None, r"the inputs are \[\]"),
        ({}, r"'inputs' is \{\}; send a list of objects"),
        ([1], r"'inputs' is \[1\]"),
        ([entry(name="picture")], r"the inputs are \['picture'\]"),
        ([entry(name=ABSENT)], r"the inputs are \[None\]"),
        ([entry(data=[]), entry(data=[])], r"the inputs are \['image', 'image'\]"),
        ([entry(datatype="FP32")], r"'FP32' is not taken; send UINT8 \[N, 32, 32, 3\]"),
        ([entry(datatype="uint8")], r"'uint8' is no datatype"),
        ([entry(datatype=ABSENT)], r"None is no datatype"),
        ([entry(datatype=["UINT8"])], r"\['UINT8'\] is no datatype"),
        ([entry(shape=ABSENT)], r"the shape is None"),
        ([entry(shape=[])], r"UINT8 of shape \[\] is not taken"),
        ([entry(shape=[2, 3, 32, 32])], r"UINT8 of shape \[2, 3, 32, 32\] is not taken"),
        ([entry(shape=[-1, 32, 32, 3])], r"the shape is \[-1, 32, 32, 3\]; send a list of whole"),
        ([entry(shape=[2.0, 32, 32, 3])], r"the shape is \[2\.0"),
        ([entry(shape=[True, 32, 32, 3])], r"the shape is \[True"),
        ([entry(shape="2")], r"the shape is '2'"),
        ([entry(shape=[0, 32, 32, 3], data=[])], r"brings no image"),
        ([entry(shape=[1, 32, 32, 3])], r"the data lists 2 elements; its shape \[1, 32, 32, 3\]"),
        ([entry(data=ABSENT)], r"the input has no data"),
        ([entry(data=None)], r"the input has no data"),
        ([entry(datatype="BYTES")], r"BYTES of shape \[2, 32, 32, 3\] is not taken"),
        ([entry(datatype="BYTES", shape=[])], r"BYTES of shape \[\] is not taken"),
        ([entry(parameters=1)], r"the parameters of the input 'image' are 1"),
        ([entry(parameters={"a": []})], r"the parameter 'a' of the input 'image' is \[\]"),
        ([entry(parameters={"binary_data_size": 5})], r"both data and binary_data_size"),
        ([binary_entry()], r"the input has no data"),
    ],
)
def test_an_input_of_another_form_is_refused(inputs: Any, finding: str) -> None:
    table = {} if inputs is ABSENT else {"inputs": inputs}
    with pytest.raises(MalformedRequestError, match=finding):
        read(table)


@pytest.mark.parametrize("size", [0, 1, IMAGES.nbytes + 1, -1, 6144.0, "6144", True, []])
def test_a_size_that_is_not_that_of_the_bytes_is_refused(size: Any) -> None:
    with pytest.raises(MalformedRequestError, match=r"binary_data_size"):
        read({"inputs": [binary_entry(size)]}, IMAGES.tobytes())


def test_bytes_that_belong_to_no_input_are_refused() -> None:
    with pytest.raises(MalformedRequestError, match=r"3 bytes follow the JSON and belong to no"):
        read({"inputs": [entry()]}, b"abc")


def test_bytes_that_the_shape_does_not_take_are_refused() -> None:
    short = IMAGES.tobytes()[:-1]
    with pytest.raises(MalformedRequestError, match=r"has 6,143 bytes and its shape"):
        read({"inputs": [binary_entry(len(short))]}, short)


def test_more_images_than_the_limit_are_refused_before_their_data_is_looked_at() -> None:
    with pytest.raises(BodyTooLargeError, match=r"brings 4 images; at most 3 are taken"):
        read({"inputs": [entry(shape=[4, 32, 32, 3])]})
    with pytest.raises(BodyTooLargeError, match=r"brings 4 images; at most 3 are taken"):
        read_infer_request(bytes(4 * 3072), "0", LIMITS, SPEC)


@pytest.mark.parametrize("owner", ["request", "input", "output"])
def test_shared_memory_is_refused_as_not_served(owner: str) -> None:
    parameters = {"shared_memory_region": "a", "shared_memory_byte_size": 10}
    table: dict[str, Any] = {"inputs": [entry()], "outputs": [{"name": "logits"}]}
    table = {
        "request": {**table, "parameters": parameters},
        "input": {**table, "inputs": [entry(data=ABSENT, parameters=parameters)]},
        "output": {**table, "outputs": [{"name": "logits", "parameters": parameters}]},
    }[owner]
    with pytest.raises(UnsupportedFeatureError, match=r"shared memory, which is not served"):
        read(table)


def asked(outputs: Any = ABSENT, **parameters: Any) -> tuple[RequestedOutput, ...]:
    table: dict[str, Any] = {"inputs": [entry()], "parameters": parameters}
    return read(table if outputs is ABSENT else {**table, "outputs": outputs}).outputs


def test_outputs_are_those_that_were_asked_for_in_that_order() -> None:
    names = [output.name for output in asked([{"name": "probabilities"}, {"name": "logits"}])]
    assert names == ["probabilities", "logits"]


@pytest.mark.parametrize("outputs", [ABSENT, None, []])
def test_no_outputs_are_all_of_them(outputs: Any) -> None:
    assert asked(outputs) == BOTH


def test_the_form_of_an_output_overrides_that_of_the_request() -> None:
    outputs = [{"name": "logits", "parameters": {"binary_data": False}}, {"name": "probabilities"}]
    assert [output.binary for output in asked(outputs, binary_data_output=True)] == [False, True]
    assert [output.binary for output in asked(binary_data_output=True)] == [True, True]


def test_a_classification_asks_for_labels() -> None:
    (output,) = asked([{"name": "logits", "parameters": {"classification": 3}}])
    assert output.classes == 3


@pytest.mark.parametrize(
    ("outputs", "finding"),
    [
        ({}, r"'outputs' is \{\}; send a list"),
        (["logits"], r"'outputs' is \['logits'\]"),
        ([{"name": "labels"}], r"there is no output 'labels'; ask for logits or probabilities"),
        ([{}], r"there is no output None"),
        ([{"name": ["logits"]}], r"there is no output \['logits'\]"),
        ([{"name": "logits"}] * 2, r"\['logits', 'logits'\]; ask for each once"),
        ([{"name": "logits", "parameters": {"binary_data": 1}}], r"binary_data is 1; send true"),
        ([{"name": "logits", "parameters": {"classification": 0}}], r"the classification is 0"),
        ([{"name": "logits", "parameters": {"classification": True}}], r"classification is True"),
        ([{"name": "logits", "parameters": {"classification": "3"}}], r"classification is '3'"),
    ],
)
def test_an_output_of_another_form_is_refused(outputs: Any, finding: str) -> None:
    with pytest.raises(MalformedRequestError, match=finding):
        asked(outputs)


def test_a_request_may_set_its_timeout_and_priority_and_anything_of_its_own() -> None:
    parameters = {"timeout": 5000, "priority": 2, "sequence_id": 7, "mine": "x", "ratio": 0.5}
    assert read({"inputs": [entry()], "parameters": parameters}).timeout_us == 5000


@pytest.mark.parametrize(
    ("parameters", "finding"),
    [
        ({"timeout": 0}, r"the timeout is 0; send a whole number of microseconds above 0"),
        ({"timeout": -1}, r"the timeout is -1"),
        ({"timeout": 1.5}, r"the timeout is 1\.5"),
        ({"timeout": "5"}, r"the timeout is '5'"),
        ({"timeout": True}, r"the timeout is True"),
        ({"priority": -1}, r"the priority is -1"),
        ({"priority": "high"}, r"the priority is 'high'"),
        ({"binary_data_output": "yes"}, r"binary_data_output is 'yes'; send true or false"),
        ([], r"the parameters of the request are \[\]; send an object"),
        ({"mine": {"deep": 1}}, r"the parameter 'mine' of the request is"),
    ],
)
def test_parameters_of_another_form_are_refused(parameters: Any, finding: str) -> None:
    with pytest.raises(MalformedRequestError, match=finding):
        read({"inputs": [entry()], "parameters": parameters})


@pytest.mark.parametrize("given", [1, [], {}, True])
def test_an_id_that_is_no_string_is_refused(given: Any) -> None:
    with pytest.raises(MalformedRequestError, match=r"the id is"):
        read({"id": given, "inputs": [entry()]})


def test_a_message_quotes_little_of_a_large_or_deep_value() -> None:
    deep: Any = "x" * 100_000
    for _ in range(900):
        deep = [deep]
    with pytest.raises(MalformedRequestError) as info:
        read({"id": deep, "inputs": [entry()]}, limits=Limits(max_images=64))
    assert len(str(info.value)) < 300


@pytest.mark.parametrize("enabled", [True, False])
def test_the_collector_of_cycles_is_left_as_it_was(enabled: bool) -> None:
    was_enabled = gc.isenabled()
    try:
        (gc.enable if enabled else gc.disable)()
        read({"inputs": [entry()]})
        assert gc.isenabled() == enabled
        with pytest.raises(MalformedRequestError):
            read({"inputs": []})
        assert gc.isenabled() == enabled
    finally:
        (gc.enable if was_enabled else gc.disable)()
