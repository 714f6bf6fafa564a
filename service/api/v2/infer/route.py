"""`POST /v2/models/{name}/infer`: tensors in, tensors out."""

from __future__ import annotations

import asyncio
import time
from contextlib import AbstractAsyncContextManager, ExitStack, nullcontext

from starlette.requests import Request
from starlette.responses import Response

from models.tensors import ImageSpec
from service.api.body import read_body
from service.api.cancellation import deadline, while_connected
from service.api.state import ServiceState, service_state
from service.api.v2.fields import HEADER
from service.api.v2.infer.compression import (
    MIN_COMPRESSED_BYTES,
    choose_encoding,
    deflate,
    inflate,
    is_compressed,
)
from service.api.v2.infer.request import InferRequest, read_infer_request
from service.api.v2.infer.response import ScoredBy, write_infer_answer
from service.api.v2.models import requested_model
from service.api.v2.responses import BINARY, JSON
from service.registry.classify import Classification
from service.settings import Limits

# The pixels of 64 images and their JSON are fewer, and take microseconds; as many bytes of nested
# numbers keep the event loop for some 5 ms.
BYTES_READ_ON_LOOP = 256 * 1024


async def infer(request: Request) -> Response:
    """Classify the images of one input with one model."""
    state, model = service_state(request), requested_model(request)
    with model.metrics.counting_failures(), ExitStack() as held:
        held.enter_context(state.admission.work())
        async with deadline(state.settings.deadline_ms) as ends_at:
            model.check_room(ends_at)
            body = await _read(request, state, held)
            started = time.perf_counter()
            asked = await _parse(body, request.headers.get(HEADER), state.limits, model.spec)
            parse_s = time.perf_counter() - started
            request.state.images = len(asked.images)
            async with while_connected(request.receive), _own_deadline(asked, ends_at) as ends_at:
                result = await state.classifier.classify(model, asked.images, ends_at)
        writing = time.perf_counter()
        response = _respond(request, asked, result)
    state.answered(
        result, input_s=parse_s + result.decode_s, output_s=time.perf_counter() - writing
    )
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
    state.admission.hold(len(inflated))
    held.callback(state.admission.release, len(inflated))
    return inflated


async def _parse(body: bytes, header: str | None, limits: Limits, spec: ImageSpec) -> InferRequest:
    """Return what a body asks, read in a thread if its JSON may be large."""
    if len(body) <= BYTES_READ_ON_LOOP:
        return read_infer_request(body, header, limits, spec)
    return await asyncio.to_thread(read_infer_request, body, header, limits, spec)


def _own_deadline(asked: InferRequest, ends_at: float) -> AbstractAsyncContextManager[float]:
    """Return the deadline that a request sets itself; it can only be the earlier one."""
    if asked.timeout_us is None:
        return nullcontext(ends_at)
    remaining_ms = (ends_at - asyncio.get_running_loop().time()) * 1000
    return deadline(min(asked.timeout_us / 1000, remaining_ms))


def _respond(request: Request, asked: InferRequest, result: Classification) -> Response:
    """Return the answer, compressed if the caller takes that.

    The header counts the bytes of the JSON before they were compressed.
    """
    model = result.model
    request_id = request.state.request_id if asked.id is None else asked.id
    scored_by = ScoredBy(model.name, model.version, model.labels, request_id)
    answer = write_infer_answer(result.scores, asked.outputs, scored_by)
    headers = {"Vary": "Accept-Encoding"}
    if answer.header_bytes is not None:
        headers[HEADER] = str(answer.header_bytes)
    if result.cache_hit is not None:
        headers["X-Cache"] = "hit" if result.cache_hit else "miss"
    body = answer.body
    encoding = choose_encoding(request.headers.get("accept-encoding", ""))
    if encoding is not None and len(body) >= MIN_COMPRESSED_BYTES:
        body = deflate(body, encoding)
        headers["Content-Encoding"] = encoding
    return Response(body, 200, headers, JSON if answer.header_bytes is None else BINARY)
