"""Files to predictions, in front of a server that refuses some of them."""

import json

import pytest

from training.client.classify import Classifier
from training.client.connection import Reply
from training.client.errors import RequestError, ServerError
from training.client.images import ImageFile
from training.client.requests import Payload

MODEL = {"name": "tiny"}


class JoinedContents:
    """A form whose body is its images, one a line."""

    def build(self, contents):
        return Payload("/", {}, b"\n".join(contents))


def server(most=64):
    """Labels each image by its content; refuses bodies with `bad` or with too many images."""

    def answer(payload, now):
        images = payload.body.split(b"\n")
        if len(images) > most:
            return Reply(413, {}, b'{"detail": "too many"}'), now
        if b"bad" in images:
            place = images.index(b"bad")
            return Reply(422, {}, json.dumps({"detail": f"image {place} is bad"}).encode()), now
        rows = [{"label": image.decode()} for image in images]
        return Reply(200, {}, json.dumps({"model": MODEL, "predictions": rows}).encode()), now

    return answer


def files(*contents):
    return [ImageFile(f"{k}.png", content) for k, content in enumerate(contents)]


@pytest.fixture
def classify(run, fake):
    def classify(answer, images):
        connection = fake(answer)
        classifier = Classifier(connection, JoinedContents(), 0, lambda _line: None)

        async def collect():
            return [row async for row in classifier.classify(images)]

        return run(collect()), connection.payloads

    return classify


def test_each_file_gets_its_own_prediction_in_one_request(classify):
    rows, payloads = classify(server(), files(b"cat", b"dog"))
    assert [(row.file, row.prediction["label"]) for row in rows] == [
        ("0.png", "cat"),
        ("1.png", "dog"),
    ]
    assert len(payloads) == 1
    assert rows[0].to_dict() == {"file": "0.png", "label": "cat", "model": MODEL}


def test_a_bad_file_is_found_and_the_others_are_classified(classify):
    rows, _ = classify(server(), files(b"a", b"b", b"bad", b"d", b"e", b"bad", b"g"))
    assert [row.prediction and row.prediction["label"] for row in rows] == [
        "a", "b", None, "d", "e", None, "g",
    ]  # fmt: skip
    assert rows[2].to_dict() == {"file": "2.png", "error": "image 0 is bad"}


def test_a_server_that_takes_fewer_images_gets_fewer_at_once(classify):
    rows, payloads = classify(server(most=2), files(b"a", b"b", b"c", b"d", b"e"))
    assert [row.prediction["label"] for row in rows] == ["a", "b", "c", "d", "e"]
    assert len(payloads) == 5  # 5 images, 2, 3, 1, 2: what is refused is asked again in halves


def test_a_refusal_of_the_whole_request_is_raised(classify, problem):
    with pytest.raises(RequestError, match="no model 'x'"):
        classify(lambda _payload, now: (problem(404, "no model 'x'"), now), files(b"a", b"b"))


@pytest.mark.parametrize("body", [b"", b"[]", b"{}", b'{"model": {}, "predictions": []}'])
def test_an_answer_without_a_prediction_for_each_image_is_no_answer(classify, body):
    with pytest.raises(ServerError, match="not one prediction for each image"):
        classify(lambda _payload, now: (Reply(200, {}, body), now), files(b"a"))
