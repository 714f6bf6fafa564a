"""`POST /v2/models/{name}/infer`: tensors in, tensors out."""

from __future__ import annotations

import asyncio
import time
from contextlib import AbstractAsyncContextManager, ExitStack, nullcontext
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from starlette.requests import Request
from starlette.responses import Response

from service.api.body import read_body
from service.api.cancellation import deadline, remaining_s, while_connected
from service.api.state import ServiceState, service_state
from service.api.v2.infer.compression import (
    SMALLEST_COMPRESSED_BYTES,
    choose_encoding,
    deflate,
    inflate,
    is_compressed,
)
from service.api.v2.infer.envelope import HEADER
from service.api.v2.infer.request import InferRequest, read_infer_request
from service.api.v2.infer.response import ScoredBy, write_infer_answer
from service.api.v2.models import requested_model
from service.api.v2.responses import BINARY, JSON
from service.inference.served_model import Outcome, ServedModel
from service.observability.statistics import failure_reason
from service.settings import Limits

# The pixels of 64 images and their JSON are fewer, and take microseconds; as many bytes of nested
# numbers keep the event loop for some 5 ms.
BYTES_READ_ON_LOOP = 256 * 1024


@dataclass(frozen=True)
class _Scored:
    """The scores of images (N, 32, 32, 3), and how long it took to get these from the body.

    `remembered` says whether the scores were known before; None without a cache.
    """

    images: NDArray[np.uint8]
    outcome: Outcome
    remembered: bool | None
    input_s: float


async def infer(request: Request) -> Response:
    """Classify the images of one input with one model."""
    model = requested_model(request)
    try:
        return await _infer(request, service_state(request), model)
    except BaseException as error:
        model.meter.failed(failure_reason(error))
        raise


async def _infer(request: Request, state: ServiceState, model: ServedModel) -> Response:
    with ExitStack() as held:
        held.enter_context(state.lifecycle.work())
        async with deadline(state.settings.deadline_ms):
            model.check_room()
            body = await _read(request, state, held)
            started = time.perf_counter()
            asked = await _understand(body, request.headers.get(HEADER), state.limits)
            async with while_connected(request.receive), _own_deadline(asked):
                scored = await _score(request, state, model, asked, started)
        writing = time.perf_counter()
        response = _respond(request, model, asked, scored)
    outcome = scored.outcome
    model.meter.succeeded(
        images=len(scored.images),
        queue_s=outcome.queue_ms / 1000,
        input_s=scored.input_s,
        infer_s=outcome.run_ms / 1000,
        output_s=time.perf_counter() - writing,
    )
    state.shadow.offer(model, scored.images, outcome.scores)
    return response


async def _read(request: Request, state: ServiceState, held: ExitStack) -> bytes:
    """Return the body as it was before it was compressed.

    What it inflates to counts among the bytes that are held, like bodies that came that large.
    """
    encoding = request.headers.get("content-encoding", "")
    compressed = is_compressed(encoding)
    body = await read_body(request, state.limits)
    if not compressed:
        return body
    inflated = await asyncio.to_thread(inflate, body, encoding, state.limits.max_body_bytes)
    state.lifecycle.hold(len(inflated))
    held.callback(state.lifecycle.release, len(inflated))
    return inflated


async def _understand(body: bytes, header: str | None, limits: Limits) -> InferRequest:
    """Return what a body asks, read in a thread if its JSON may be large."""
    if len(body) <= BYTES_READ_ON_LOOP:
        return read_infer_request(body, header, limits)
    return await asyncio.to_thread(read_infer_request, body, header, limits)


def _own_deadline(asked: InferRequest) -> AbstractAsyncContextManager[None]:
    """Return the deadline that a request sets itself; it can only be the earlier one."""
    if asked.timeout_us is None:
        return nullcontext()
    return deadline(min(asked.timeout_us / 1000, remaining_s() * 1000))


async def _score(
    request: Request, state: ServiceState, model: ServedModel, asked: InferRequest, started: float
) -> _Scored:
    given = asked.images
    images = await state.decode(given) if isinstance(given, list) else given
    request.state.images = len(images)
    input_s = time.perf_counter() - started
    outcome, remembered = await state.score(model, images)
    return _Scored(images, outcome, remembered, input_s)


def _respond(
    request: Request, model: ServedModel, asked: InferRequest, scored: _Scored
) -> Response:
    """Return the answer, compressed if the caller takes that.

    The header counts the bytes of the JSON before they were compressed.
    """
    request_id = request.state.request_id if asked.id is None else asked.id
    scored_by = ScoredBy(model.name, model.version, model.labels, request_id)
    answer = write_infer_answer(scored.outcome.scores, asked.outputs, scored_by)
    headers = {"Vary": "Accept-Encoding"}
    if answer.header_bytes is not None:
        headers[HEADER] = str(answer.header_bytes)
    if scored.remembered is not None:
        headers["X-Cache"] = "hit" if scored.remembered else "miss"
    body = answer.body
    encoding = choose_encoding(request.headers.get("accept-encoding", ""))
    if encoding is not None and len(body) >= SMALLEST_COMPRESSED_BYTES:
        body = deflate(body, encoding)
        headers["Content-Encoding"] = encoding
    return Response(body, 200, headers, JSON if answer.header_bytes is None else BINARY)
