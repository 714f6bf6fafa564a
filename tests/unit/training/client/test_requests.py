"""Requests in both protocols, and what their answers say."""

import io
import json
import struct

import pytest
from PIL import Image
from starlette.datastructures import Headers
from starlette.formparsers import MultiPartParser

from training.client.answers import answer_of
from training.client.errors import RequestError, ServerError
from training.client.requests import HEADER, InferFormat, PredictFormat

CONTENTS = [b"\x89PNG\r\n--", b"\xff\xd8", b"GIF"]


def png(side=32, value=7):
    buffer = io.BytesIO()
    Image.new("RGB", (side, side), (value, 1, 2)).save(buffer, "PNG")
    return buffer.getvalue()


def test_one_image_is_the_body_itself():
    payload = PredictFormat("keras-bn@1.0.0", top_k=3).build([b"image"])
    assert payload.body == b"image"
    assert payload.target == "/v1/predict?top_k=3&model=keras-bn%401.0.0"


def test_several_images_are_a_form_that_another_parser_reads_back(run):
    payload = PredictFormat(deadline_ms=250.4).build(CONTENTS)
    assert payload.target == "/v1/predict?top_k=5&timeout_ms=250"

    async def stream():
        yield payload.body

    async def read_back():
        form = await MultiPartParser(Headers(payload.headers), stream()).parse()
        try:
            return [(name, await part.read()) for name, part in form.multi_items()]
        finally:
            await form.close()

    assert run(read_back()) == [("images", content) for content in CONTENTS]


def test_an_answer_of_v1_is_its_listed_classes():
    top = [{"index": 3, "probability": 0.75}, {"index": 5, "probability": 0.25}]
    body = json.dumps({"predictions": [{"top": top}]}).encode()
    assert PredictFormat().read(body, {}) == [answer_of([(3, 0.75), (5, 0.25)])]


@pytest.mark.parametrize(
    "body", [b"", b"[]", b"{}", b'{"predictions": [{}]}', b'{"predictions": [{"top": []}]}']
)
def test_what_is_no_answer_of_v1_is_said_so(body):
    with pytest.raises(ServerError, match="not of the form that protocol v1 has"):
        PredictFormat().read(body, {})


def decoded(payload):
    length = int(payload.headers[HEADER])
    return json.loads(payload.body[:length]), payload.body[length:]


def test_v2_sends_files_each_after_its_length():
    payload = InferFormat("keras-bn@1.0.0").build(CONTENTS)
    table, tensor = decoded(payload)
    assert payload.target == "/v2/models/keras-bn@1.0.0/infer"
    assert table["inputs"] == [
        {
            "name": "image",
            "datatype": "BYTES",
            "shape": [3],
            "parameters": {"binary_data_size": len(tensor)},
        }
    ]
    assert tensor == b"".join(struct.pack("<I", len(c)) + c for c in CONTENTS)
    assert "parameters" not in table


def test_v2_states_the_deadline_in_microseconds():
    table, _ = decoded(InferFormat("m", deadline_ms=1.5).build(CONTENTS))
    assert table["parameters"] == {"timeout": 1500}


PIXELS = InferFormat("m", pixels=True, size=(32, 32))


def test_the_size_of_pixels_is_that_of_the_models_metadata():
    metadata = {"inputs": [{"name": "image", "datatype": "UINT8", "shape": [-1, 48, 64, 3]}]}
    sized = InferFormat("m@1.0.0", pixels=True).sized(json.dumps(metadata).encode())
    assert (sized.metadata_target, sized.size) == ("/v2/models/m@1.0.0", (48, 64))


@pytest.mark.parametrize(
    "metadata", [b"", b"{}", b'{"inputs": []}', b'{"inputs": [{"shape": [1]}]}']
)
def test_metadata_without_the_size_of_an_image_is_said_so(metadata):
    with pytest.raises(ServerError, match="not of the form that protocol v2 has"):
        InferFormat("m", pixels=True).sized(metadata)


def test_v2_sends_pixels_in_rows_of_rgb():
    table, tensor = decoded(PIXELS.build([png(value=7), png(value=9)]))
    assert (table["inputs"][0]["datatype"], table["inputs"][0]["shape"]) == (
        "UINT8",
        [2, 32, 32, 3],
    )
    assert tensor == bytes([7, 1, 2]) * 1024 + bytes([9, 1, 2]) * 1024


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (png(side=33), "image 0 is 33 by 33 pixels, and the model takes 32 by 32"),
        (b"none", "image 0 cannot be decoded"),
    ],
)
def test_an_image_of_another_size_is_refused_as_pixels(content, message):
    with pytest.raises(RequestError, match=message):
        PIXELS.build([content])


def infer_answer(*rows, shape=None):
    table = {"outputs": [{"shape": shape or [len(rows), len(rows[0])]}]}
    text = json.dumps(table).encode()
    tensor = b"".join(struct.pack(f"<{len(row)}f", *row) for row in rows)
    return text + tensor, {HEADER: str(len(text))}


def test_an_answer_of_v2_is_every_class():
    body, headers = infer_answer((0.75, 0.25), (0.5, 0.5))
    expected = [answer_of([(0, 0.75), (1, 0.25)]), answer_of([(0, 0.5), (1, 0.5)])]
    assert InferFormat("m").read(body, headers) == expected


@pytest.mark.parametrize(
    ("body", "headers"),
    [
        infer_answer((0.5, 0.5), shape=[2, 2]),
        infer_answer((0.5, 0.5), shape=[1, 0]),
        infer_answer((0.5, float("nan"))),
        (b"{}", {}),
        (b"{}", {HEADER: "2"}),
    ],
)
def test_what_is_no_answer_of_v2_is_said_so(body, headers):
    with pytest.raises(ServerError, match="not of the form that protocol v2 has"):
        InferFormat("m").read(body, headers)
