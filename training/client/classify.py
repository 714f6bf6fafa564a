"""Image files to predictions: one request for many, and a bad file spoils only its own answer."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterable, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

from training.client.connection import Connection, Reply
from training.client.errors import RequestError, ServerError
from training.client.images import ImageFile, halves, requests_of
from training.client.requests import PredictFormat
from training.client.retries import Log, post_patiently

# These may be the fault of one image, or of how many come at once.
FAULTS_OF_IMAGES = (
    HTTPStatus.BAD_REQUEST,
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    HTTPStatus.UNPROCESSABLE_ENTITY,
)


@dataclass(frozen=True)
class Classified:
    """What became of one file: a prediction and the model that made it, or why there is none."""

    file: str
    prediction: dict[str, Any] | None = None
    model: dict[str, Any] | None = None
    refusal: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return it as plain JSON values."""
        if self.prediction is None:
            return {"file": self.file, "error": self.refusal}
        return {"file": self.file, **self.prediction, "model": self.model}


@dataclass(frozen=True)
class Classifier:
    """One server and one model, asked with patience."""

    connection: Connection
    form: PredictFormat
    retries: int
    log: Log

    async def classify(self, images: Iterable[ImageFile]) -> AsyncIterator[Classified]:
        """Yield what became of each image, in their order.

        Raises:
            RequestError: the server refuses the request whatever the images are.
            ServerError: no answer, or a failure of the server.
        """
        for group in requests_of(images):
            for result in await self._ask(group):
                yield result

    async def _ask(self, images: Sequence[ImageFile]) -> list[Classified]:
        payload = self.form.build([image.content for image in images])
        reply = await post_patiently(self.connection, payload, self.retries, self.log)
        if reply.status == HTTPStatus.OK:
            return _predictions(images, reply)
        if reply.status not in FAULTS_OF_IMAGES:
            raise RequestError(reply.detail)
        if len(images) == 1:
            return [Classified(images[0].name, refusal=reply.detail)]
        first, second = halves(images)  # either holds the bad one, or each is small enough
        return [*await self._ask(first), *await self._ask(second)]


def _predictions(images: Sequence[ImageFile], reply: Reply) -> list[Classified]:
    try:
        table = json.loads(reply.body)
        model, rows = table["model"], table["predictions"]
        complete = len(rows) == len(images) and all("label" in row for row in rows)
    except (ValueError, KeyError, TypeError) as exc:
        raise _not_understood() from exc
    if not complete:
        raise _not_understood()
    return [Classified(image.name, row, model) for image, row in zip(images, rows, strict=True)]


def _not_understood() -> ServerError:
    return ServerError(
        "the answer has not one prediction for each image; check that --url names foldnorm-serve"
    )
