"""The requests of a load, and the check of their answers."""

import itertools
import json

import pytest

from training.client.connection import Reply
from training.client.errors import RequestError
from training.client.images import ImageFile
from training.client.load.request_pool import ask_alone, prepare_requests, shuffled
from training.client.requests import Payload, PredictFormat


class JoinedContents(PredictFormat):
    """v1's answers to a body that is the images, one a line."""

    def build(self, contents):
        return Payload("/", {}, b"\n".join(contents))


FORM = JoinedContents()
IMAGES = [ImageFile(f"{k}.png", str(k).encode()) for k in range(1, 6)]


def answers(images):
    """Each image's number is the share of class 0 in ten."""
    rows = [
        {"top": [{"index": 0, "probability": k / 10}, {"index": 1, "probability": 1 - k / 10}]}
        for k in map(int, images)
    ]
    return Reply(200, {}, json.dumps({"predictions": rows}).encode())


def honest(payload, now):
    return answers(payload.body.split(b"\n")), now


@pytest.fixture
def references(run, fake):
    return run(ask_alone(fake(honest), FORM, IMAGES, print))


def test_every_image_is_in_some_request_and_each_request_is_full():
    requests = prepare_requests(FORM, IMAGES, batch=2)
    assert [request.payload.body for request in requests] == [b"1\n2", b"3\n4", b"5\n1"]
    assert {request.mismatches for request in requests} == {None}


def test_a_request_may_hold_more_images_than_there_are():
    (request,) = prepare_requests(FORM, IMAGES[:2], batch=5)
    assert request.payload.body == b"1\n2\n1\n2\n1"


def test_answers_of_the_images_themselves_are_no_mismatch(references):
    for request in prepare_requests(FORM, IMAGES, 3, references):
        assert request.mismatches(honest(request.payload, 0)[0]) == 0


@pytest.mark.parametrize(
    ("wrong", "count"),
    [([1, 3, 2], 2), ([2, 2, 3], 1), ([1, 2], 3), ([1, 2, 3, 4], 3)],
    ids=["swapped", "one of another", "too few", "too many"],
)
def test_answers_of_other_images_are_counted(references, wrong, count):
    request = prepare_requests(FORM, IMAGES, 3, references)[0]
    assert request.mismatches(answers(wrong)) == count


def test_an_answer_that_cannot_be_read_counts_for_each_of_its_images(references):
    request = prepare_requests(FORM, IMAGES, 3, references)[0]
    assert request.mismatches(Reply(200, {}, b"{")) == 3


def test_images_with_one_answer_are_look_alikes(run, fake):
    twins = [*IMAGES, ImageFile("twin.png", b"5")]
    assert run(ask_alone(fake(honest), FORM, twins, print)).look_alikes == 2
    assert run(ask_alone(fake(honest), FORM, IMAGES, print)).look_alikes == 0


def test_an_image_that_is_refused_is_named(run, fake, problem):
    def refuse(_payload, now):
        return problem(422, "no image"), now

    with pytest.raises(RequestError, match=r"^1\.png: no image$"):
        run(ask_alone(fake(refuse), FORM, IMAGES, print))


def test_each_round_brings_every_request_once_in_an_order_of_the_seed():
    requests = prepare_requests(FORM, IMAGES, 1)
    first, again, other = (
        list(itertools.islice(shuffled(requests, seed), 15)) for seed in (0, 0, 1)
    )
    assert first == again
    assert first != other
    for start in (0, 5, 10):
        assert {request.payload.body for request in first[start : start + 5]} == set(
            b"1 2 3 4 5".split()
        )
