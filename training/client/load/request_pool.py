"""The requests of a load, built before it starts, and the answers that they must get.

Each image is asked about alone first. Under load it comes with other batch-mates at every turn, and
its answer must stay its own.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from http import HTTPStatus

from training.client.answers import Answer, count_look_alikes
from training.client.connection import Connection, Reply
from training.client.errors import RequestError, ServerError
from training.client.images import ImageFile
from training.client.load.generator import PreparedRequest
from training.client.requests import PayloadFormat
from training.client.retries import Log, post_patiently

RETRIES = 5


@dataclass(frozen=True)
class References:
    """What each image was answered alone, in the order of the images."""

    answers: tuple[Answer, ...]

    @property
    def look_alikes(self) -> int:
        """How many images could be swapped unnoticed."""
        return count_look_alikes(self.answers)


async def ask_alone(
    connection: Connection, form: PayloadFormat, images: Sequence[ImageFile], log: Log
) -> References:
    """Return the answers to the images, one request each, one after the other.

    Raises:
        RequestError: the server refuses one of them; the message names its file.
        ServerError: no answer, or none that can be read.
    """
    answers = []
    for image in images:
        reply = await post_patiently(connection, form.build([image.content]), RETRIES, log)
        if reply.status != HTTPStatus.OK:
            raise RequestError(f"{image.name}: {reply.detail}")
        read = form.read(reply.body, reply.headers)
        if len(read) != 1:
            raise ServerError(f"{image.name}: {len(read)} answers to one image; 1 is right")
        answers += read
    return References(tuple(answers))


def prepare_requests(
    form: PayloadFormat,
    images: Sequence[ImageFile],
    batch: int,
    references: References | None = None,
) -> list[PreparedRequest]:
    """Return requests of `batch` images each that bring every image at least once.

    With `references` each counts the answers that are not those of its images.
    """
    starts = range(0, len(images), batch)
    return [
        _prepare(form, images, [(start + k) % len(images) for k in range(batch)], references)
        for start in starts
    ]


def _prepare(
    form: PayloadFormat,
    images: Sequence[ImageFile],
    chosen: Sequence[int],
    references: References | None,
) -> PreparedRequest:
    payload = form.build([images[index].content for index in chosen])
    if references is None:
        return PreparedRequest(payload)
    expected = [references.answers[index] for index in chosen]

    def mismatches(reply: Reply) -> int:
        try:
            answers = form.read(reply.body, reply.headers)
        except ServerError:  # an answer that cannot be read is no image's own
            return len(expected)
        if len(answers) != len(expected):
            return len(expected)
        return sum(not a.agrees(b) for a, b in zip(answers, expected, strict=True))

    return PreparedRequest(payload, mismatches)


def shuffled(requests: Sequence[PreparedRequest], seed: int) -> Iterator[PreparedRequest]:
    """Yield the requests endlessly, each round in another order."""
    chance = random.Random(seed)  # noqa: S311 - an order, not a secret
    while True:
        yield from chance.sample(requests, len(requests))
