"""What an infer request asks: the images of one input, and which outputs in which form."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.tensors import ImageSpec
from service.api.v2.fields import HEADER, Table, parameters_of
from service.api.v2.infer.envelope import Envelope, open_envelope
from service.api.v2.infer.input import InferInput, check_number, only_input
from service.api.v2.infer.outputs import RequestedOutput, every_output, read_outputs
from service.api.v2.infer.tensors import pixels_from_bytes
from service.api.v2.responses import shown
from service.errors import MalformedRequestError
from service.settings import Limits


@dataclass(frozen=True)
class InferRequest:
    """A request that was read.

    `images` are pixels (N, H, W, C), or the bytes of N files that have yet to be decoded.
    """

    images: NDArray[np.uint8] | list[bytes]
    outputs: tuple[RequestedOutput, ...]
    id: str | None = None
    timeout_us: int | None = None


def read_infer_request(
    body: bytes, header: str | None, limits: Limits, spec: ImageSpec
) -> InferRequest:
    """Return what a body asks of a model that takes images as `spec` says.

    `header` is its Inference-Header-Content-Length, if any.

    Pixels that follow the JSON stay where they are in the body.

    Raises:
        MalformedRequestError: the body is not of the protocol's form, or asks for what is not.
        UnsupportedFeatureError: it uses shared memory.
        BodyTooLargeError: it brings more images than one request may.
    """
    with _collector_paused():
        return _read(open_envelope(body, header, limits, spec), limits, spec)


def _read(envelope: Envelope, limits: Limits, spec: ImageSpec) -> InferRequest:
    table = envelope.table
    if table is None:
        return _read_tensor_alone(envelope.rest, limits, spec)
    parameters = parameters_of(table, "the request")
    _check_priority(parameters)
    has_bools = b"true" in envelope.text or b"false" in envelope.text
    return InferRequest(
        InferInput(only_input(table, spec), envelope.rest, has_bools, spec).images(limits),
        read_outputs(table, parameters),
        _request_id(table),
        _timeout(parameters),
    )


@contextmanager
def _collector_paused() -> Iterator[None]:
    """Keep the collector of cycles from running.

    Nested JSON becomes a list for every pixel, all of them live and none in a cycle: looking
    through them again and again takes several times as long as making them.
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def _read_tensor_alone(data: memoryview, limits: Limits, spec: ImageSpec) -> InferRequest:
    """Read pixels without any JSON; how many images they are follows from their length."""
    count, remainder = divmod(len(data), spec.image_bytes)
    if remainder or not count:
        raise MalformedRequestError(
            f"the tensor has {len(data):,} bytes; a body with {HEADER} 0 is the pixels of whole "
            f"images, {spec.image_bytes:,} bytes each"
        )
    check_number(count, limits)
    pixels = pixels_from_bytes(data, (count, *spec.image_shape))
    return InferRequest(pixels, every_output(binary=True))


def _request_id(table: Table) -> str | None:
    given = table.get("id")
    if given is not None and not isinstance(given, str):
        raise MalformedRequestError(f"the id is {shown(given)}; send a string or none")
    return given


def _timeout(parameters: Table) -> int | None:
    timeout = parameters.get("timeout")
    if timeout is not None and (type(timeout) is not int or timeout <= 0):
        raise MalformedRequestError(
            f"the timeout is {shown(timeout)}; send a whole number of microseconds above 0"
        )
    return timeout


def _check_priority(parameters: Table) -> None:
    """Refuse what is no priority; all requests have the same one."""
    priority = parameters.get("priority", 0)
    if type(priority) is not int or priority < 0:
        raise MalformedRequestError(
            f"the priority is {shown(priority)}; send a whole number, 0 or more"
        )
