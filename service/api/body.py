"""The images in a request's body: one raw, or several as multipart parts or JSON.

The body is counted while it arrives and is held in memory, never on disk.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import AsyncGenerator

from starlette.datastructures import Headers, UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import ClientDisconnect, Request

from service.errors import BodyTooLargeError, MalformedRequestError, UnsupportedMediaError
from service.settings import Limits

FIELD = "images"
ACCEPTED = "image/*, application/octet-stream, multipart/form-data or application/json"
MAX_SHOWN = 60
JSON_FORM = (
    f'the JSON must be {{"{FIELD}": [...]}} and nothing else, with base64 or data URLs in the list'
)


async def read_images(request: Request, limits: Limits) -> list[bytes]:
    """Return the files' bytes in the order of the request; at least one, none of them empty.

    Raises:
        BodyTooLargeError: more bytes or more images than one request may bring.
        UnsupportedMediaError: a content type or encoding that is not taken.
        MalformedRequestError: the body is not of its content type's form, or brings no image.
        ClientDisconnect: the caller hung up before the body ended.
    """
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    _check_encoding(request)
    if not _is_accepted(media_type):
        shown = media_type[:MAX_SHOWN] or "none"
        raise UnsupportedMediaError(f"content type {shown!r} is not taken; send {ACCEPTED}")
    body = await read_body(request, limits)
    if not body:
        raise MalformedRequestError("the body is empty; send an image")
    if media_type == "application/json":
        images = _from_json(body, limits)
    elif media_type == "multipart/form-data":
        images = await _from_multipart(request.headers, body, limits)
    else:
        images = [body]
    return _checked(images, limits)


def _is_accepted(media_type: str) -> bool:
    exact = ("application/octet-stream", "application/json", "multipart/form-data")
    return media_type in exact or media_type.startswith("image/")


def _check_encoding(request: Request) -> None:
    encoding = request.headers.get("content-encoding", "identity").strip().lower()
    if encoding not in ("", "identity"):
        raise UnsupportedMediaError(
            f"content encoding {encoding[:MAX_SHOWN]!r} is not taken; send the body "
            "uncompressed, images are compressed already"
        )


async def read_body(request: Request, limits: Limits) -> bytes:
    """Return the body, refusing it at the announced or else at the first byte too many."""
    announced = request.headers.get("content-length", "")
    if announced.isascii() and announced.isdigit() and int(announced[:20]) > limits.max_body_bytes:
        raise _too_large(f"the body has {int(announced[:20]):,} bytes", limits)
    chunks = []
    size = 0
    more = True
    while more:
        message = await request.receive()
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        chunks.append(message.get("body", b""))
        more = message.get("more_body", False)
        size += len(chunks[-1])
        if size > limits.max_body_bytes:
            raise _too_large(f"the body has more than {limits.max_body_bytes:,} bytes", limits)
    return chunks[0] if len(chunks) == 1 else b"".join(chunks)


def _too_large(finding: str, limits: Limits) -> BodyTooLargeError:
    return BodyTooLargeError(
        f"{finding}; at most {limits.max_body_bytes:,} are taken; send fewer or smaller images"
    )


def _checked(images: list[bytes], limits: Limits) -> list[bytes]:
    if not images:
        raise MalformedRequestError(f"the request brings no image; name them {FIELD!r}")
    if len(images) > limits.max_images:
        raise BodyTooLargeError(
            f"the request brings {len(images):,} images; at most {limits.max_images} are taken; "
            "send them in several requests"
        )
    for index, image in enumerate(images):
        if not image:
            raise MalformedRequestError(f"image {index} of {len(images)} is empty; leave it out")
    return images


def _from_json(body: bytes, limits: Limits) -> list[bytes]:
    _check_json_size(body, limits)
    try:
        table = json.loads(body)
    except ValueError as exc:
        raise MalformedRequestError(f"the body is not JSON: {exc}") from exc
    if not isinstance(table, dict) or set(table) != {FIELD} or not isinstance(table[FIELD], list):
        raise MalformedRequestError(JSON_FORM)
    return [_from_text(text, index) for index, text in enumerate(table[FIELD])]


def _check_json_size(body: bytes, limits: Limits) -> None:
    """Refuse before parsing what would become far more objects than there may be images.

    The form that is taken has one brace, one bracket, and two commas an image at most: base64 has
    none of them, a data URL one comma.
    """
    if body.count(b"{") > 1 or body.count(b"[") > 1:
        raise MalformedRequestError(JSON_FORM)
    if body.count(b",") > 2 * limits.max_images + 2:
        raise BodyTooLargeError(
            f"the JSON lists far more than {limits.max_images} images; at most that many are "
            "taken; send them in several requests"
        )


def _from_text(text: object, index: int) -> bytes:
    """Return the bytes of a base64 text or of a data URL."""
    if not isinstance(text, str):
        raise MalformedRequestError(
            f"{FIELD}[{index}] is a {type(text).__name__}; send base64 or a data URL"
        )
    if text.startswith("data:"):
        head, comma, text = text.partition(",")
        if not comma or not head.endswith(";base64"):
            raise MalformedRequestError(
                f"{FIELD}[{index}] is a data URL without ';base64,'; encode it with base64"
            )
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as exc:
        raise MalformedRequestError(f"{FIELD}[{index}] is not base64: {exc}") from exc


async def _from_multipart(headers: Headers, body: bytes, limits: Limits) -> list[bytes]:
    async def stream() -> AsyncGenerator[bytes, None]:
        yield body

    # One more than the limit may pass here, so that too many images are told from a bad form.
    parser = _WholeFormParser(headers, stream(), max_files=limits.max_images + 1, max_fields=0)
    parser.spool_max_size = limits.max_body_bytes
    try:
        form = await parser.parse()
    except MultiPartException as exc:
        if "Too many files" in exc.message:
            raise BodyTooLargeError(
                f"the request brings more than {limits.max_images} images; send them in several "
                "requests"
            ) from exc
        raise MalformedRequestError(f"the multipart body cannot be read: {exc.message}") from exc
    except Exception as exc:  # a missing boundary or a broken header surfaces in many ways
        raise MalformedRequestError("the multipart body cannot be read; check boundary") from exc
    try:
        if not parser.complete:
            raise MalformedRequestError(
                "the multipart body ends before its last boundary; send the whole form"
            )
        return [await _from_part(name, part) for name, part in form.multi_items()]
    finally:
        await form.close()
        await parser.close_unfinished()


class _WholeFormParser(MultiPartParser):
    """Notices a form that ends early; starlette's would drop the part that was cut off."""

    complete = False

    def on_end(self) -> None:
        """Remember that the last boundary came."""
        self.complete = True

    async def close_unfinished(self) -> None:
        """Close the file of a part that was cut off, which is in no form."""
        if self._current_part.file is not None:
            await self._current_part.file.close()


async def _from_part(name: str, part: UploadFile | str) -> bytes:
    if name != FIELD or isinstance(part, str):
        raise MalformedRequestError(
            f"the part {name[:MAX_SHOWN]!r} is not taken; send files in parts named {FIELD!r}"
        )
    return await part.read()
