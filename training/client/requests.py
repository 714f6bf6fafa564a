"""Requests that bring images, in both protocols, and what their answers say.

v1   POST /v1/predict: the file as it is, or several as a multipart form
v2   POST /v2/models/MODEL/infer: Open Inference Protocol with binary tensors, either
     BYTES [N] with files, or UINT8 [N, H, W, 3] with pixels of the size that the model's
     metadata states
"""

from __future__ import annotations

import io
import json
import secrets
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol
from urllib.parse import quote, urlencode

from PIL import Image, UnidentifiedImageError

from training.client.answers import Answer, answer_of
from training.client.errors import RequestError, ServerError

HEADER = "Inference-Header-Content-Length"
FLOAT_BYTES = 4


@dataclass(frozen=True)
class Payload:
    """A request that is ready to be sent, any number of times."""

    target: str  # path and query
    headers: Mapping[str, str]
    body: bytes


class PayloadFormat(Protocol):
    """How images become a request, and an answer's body becomes answers."""

    def build(self, contents: Sequence[bytes]) -> Payload:
        """Return the request that brings these files."""

    def read(self, body: bytes, headers: Mapping[str, str]) -> list[Answer]:
        """Return one answer for each image of the request.

        Raises:
            ServerError: the body is not of the protocol's form.
        """


@dataclass(frozen=True)
class PredictFormat:
    """`/v1/predict`; `model` None is the server's default, `deadline_ms` None its deadline."""

    model: str | None = None
    top_k: int = 5
    deadline_ms: float | None = None

    def build(self, contents: Sequence[bytes]) -> Payload:
        """Return one image as the raw body, several as a form."""
        query: dict[str, str | int] = {"top_k": self.top_k}
        if self.model is not None:
            query["model"] = self.model
        if self.deadline_ms is not None:
            query["timeout_ms"] = max(1, round(self.deadline_ms))
        target = f"/v1/predict?{urlencode(query)}"
        if len(contents) == 1:
            return Payload(target, {"Content-Type": "application/octet-stream"}, contents[0])
        boundary = secrets.token_hex(16)
        headers = {"Content-Type": f"multipart/form-data; boundary={boundary}"}
        return Payload(target, headers, _form(contents, boundary))

    def read(self, body: bytes, headers: Mapping[str, str]) -> list[Answer]:
        """Return the `top_k` classes of each image."""
        del headers
        try:
            return [
                answer_of((best["index"], best["probability"]) for best in prediction["top"])
                for prediction in json.loads(body)["predictions"]
            ]
        except (ValueError, KeyError, TypeError) as exc:
            raise _not_understood("v1") from exc


def _form(contents: Sequence[bytes], boundary: str) -> bytes:
    form = bytearray()
    for index, content in enumerate(contents):
        form += (
            f"--{boundary}\r\n"
            f'Content-Disposition: form-data; name="images"; filename="{index}"\r\n'
            "Content-Type: application/octet-stream\r\n\r\n"
        ).encode()
        form += content + b"\r\n"
    form += f"--{boundary}--\r\n".encode()
    return bytes(form)


@dataclass(frozen=True)
class InferFormat:
    """`/v2/models/MODEL/infer`; `deadline_ms` goes along as the request's timeout.

    With `pixels`, `size` (height, width) is needed: `sized` takes it from the model's metadata.
    """

    model: str
    pixels: bool = False
    deadline_ms: float | None = None
    size: tuple[int, int] | None = None

    @property
    def metadata_target(self) -> str:
        """Where the server describes the model."""
        return f"/v2/models/{quote(self.model, safe='@')}"

    def sized(self, metadata: bytes) -> InferFormat:
        """Return the format for images of the size that the model takes.

        Raises:
            ServerError: the metadata does not state an input (N, H, W, 3).
        """
        try:
            (spec,) = json.loads(metadata)["inputs"]
            _, height, width, _ = map(int, spec["shape"])
        except (ValueError, KeyError, TypeError) as exc:
            raise _not_understood("v2") from exc
        return replace(self, size=(height, width))

    def build(self, contents: Sequence[bytes]) -> Payload:
        """Return JSON, and after it the files or the pixels as they are.

        Raises:
            RequestError: pixels are asked for, and an image has another size or is none.
        """
        if self.pixels:
            assert self.size is not None, "pixels are sent after `sized`"
            tensor = b"".join(_pixels(one, index, self.size) for index, one in enumerate(contents))
            datatype, shape = "UINT8", [len(contents), *self.size, 3]
        else:
            tensor = b"".join(struct.pack("<I", len(content)) + content for content in contents)
            datatype, shape = "BYTES", [len(contents)]
        table: dict[str, object] = {
            "inputs": [
                {
                    "name": "image",
                    "datatype": datatype,
                    "shape": shape,
                    "parameters": {"binary_data_size": len(tensor)},
                }
            ],
            "outputs": [{"name": "probabilities", "parameters": {"binary_data": True}}],
        }
        if self.deadline_ms is not None:
            table["parameters"] = {"timeout": max(1, round(self.deadline_ms * 1000))}
        text = json.dumps(table, separators=(",", ":")).encode()
        headers = {"Content-Type": "application/octet-stream", HEADER: str(len(text))}
        return Payload(f"{self.metadata_target}/infer", headers, text + tensor)

    def read(self, body: bytes, headers: Mapping[str, str]) -> list[Answer]:
        """Return all classes of each image, from the tensor `probabilities` (N, classes) FP32."""
        try:
            start = int(headers[HEADER])
            (output,) = json.loads(body[:start])["outputs"]
            images, classes = output["shape"]
            tensor = body[start : start + images * classes * FLOAT_BYTES]
            rows = struct.iter_unpack(f"<{classes}f", tensor)
            answers = [answer_of(enumerate(row)) for row in rows]
        except (ValueError, KeyError, TypeError, struct.error) as exc:
            raise _not_understood("v2") from exc
        if len(answers) != images:
            raise _not_understood("v2")
        return answers


def _pixels(content: bytes, index: int, size: tuple[int, int]) -> bytes:
    """Return an image (H, W, 3) as bytes, rows of RGB pixels."""
    height, width = size
    try:
        with Image.open(io.BytesIO(content)) as image:
            if image.size == (width, height):
                return image.convert("RGB").tobytes()
            finding = f"is {image.width} by {image.height} pixels"
    except (UnidentifiedImageError, OSError, ValueError, Image.DecompressionBombError) as exc:
        raise RequestError(f"image {index} cannot be decoded; leave it out") from exc
    raise RequestError(
        f"image {index} {finding}, and the model takes {width} by {height}; send files instead"
    )


def _not_understood(protocol: str) -> ServerError:
    return ServerError(
        f"the answer is not of the form that protocol {protocol} has; check that --url names a "
        "server that speaks it"
    )
