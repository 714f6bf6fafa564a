"""The one input of a request: the images, as pixels or as files."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.tensors import ImageSpec
from service.api.v2.datatypes import BYTES, DATATYPES, UINT8
from service.api.v2.fields import HEADER, Table, parameters_of, tables
from service.api.v2.infer.tensors import (
    files_from_base64,
    files_from_bytes,
    pixels_from_bytes,
    pixels_from_json,
)
from service.api.v2.responses import shown
from service.errors import BodyTooLargeError, MalformedRequestError
from service.settings import Limits


@dataclass(frozen=True)
class InferInput:
    """The entry of the input, with what its data is read from.

    `rest` are the bytes after the JSON; `may_have_bools` says that the JSON has the word true or
    false somewhere; `spec` is what the model takes.
    """

    entry: Table
    rest: memoryview
    may_have_bools: bool
    spec: ImageSpec

    def images(self, limits: Limits) -> NDArray[np.uint8] | list[bytes]:
        """Return pixels (N, H, W, C), or the bytes of N files.

        Raises:
            MalformedRequestError: the input is not of a form that is taken.
            UnsupportedFeatureError: its data is in shared memory.
            BodyTooLargeError: more images than one request may bring.
        """
        parameters = parameters_of(self.entry, f"the input {self.spec.name!r}")
        datatype, shape = self.entry.get("datatype"), self._shape()
        _check_form(datatype, shape, self.spec)
        check_number(shape[0], limits)
        if self.entry.get("data") is not None:
            images = self._from_json(datatype, shape, parameters)
        else:
            images = self._from_bytes(datatype, shape, parameters.get("binary_data_size"))
        if isinstance(images, list) and b"" in images:
            raise MalformedRequestError(
                f"image {images.index(b'')} of {len(images)} is empty; leave it out"
            )
        return images

    def _from_json(
        self, datatype: Any, shape: list[int], parameters: Table
    ) -> NDArray[np.uint8] | list[bytes]:
        if "binary_data_size" in parameters:
            raise MalformedRequestError(
                "the input has both data and binary_data_size; send one of them"
            )
        if self.rest:
            raise MalformedRequestError(
                f"{len(self.rest):,} bytes follow the JSON and belong to no input; send the data "
                "there or in the JSON"
            )
        if datatype == UINT8:
            return pixels_from_json(self.entry["data"], shape, may_have_bools=self.may_have_bools)
        if parameters.get("content_type") != "base64":
            raise MalformedRequestError(
                "an image file is no text; send it as binary data, or as base64 with the input's "
                "parameter content_type set to base64"
            )
        return files_from_base64(self.entry["data"], shape[0])

    def _from_bytes(
        self, datatype: Any, shape: list[int], size: Any
    ) -> NDArray[np.uint8] | list[bytes]:
        if not self.rest:
            raise MalformedRequestError(
                "the input has no data; send it in the JSON, or as bytes after the JSON with the "
                f"JSON's length in {HEADER}"
            )
        if size is not None and (type(size) is not int or size != len(self.rest)):
            raise MalformedRequestError(
                f"binary_data_size is {shown(size)} and {len(self.rest):,} bytes follow the JSON; "
                "make them the same"
            )
        if datatype == UINT8:
            return pixels_from_bytes(self.rest, shape)
        if size is None and shape[0] == 1:
            return [bytes(self.rest)]  # one file and nothing else needs no length before it
        return files_from_bytes(self.rest, shape[0])

    def _shape(self) -> list[int]:
        shape = self.entry.get("shape")
        if not isinstance(shape, list) or not all(type(n) is int and n >= 0 for n in shape):
            raise MalformedRequestError(
                f"the shape is {shown(shape)}; send a list of whole numbers, {_forms(self.spec)}"
            )
        return shape


def only_input(table: Table, spec: ImageSpec) -> Table:
    """Return the entry of the one input.

    Raises:
        MalformedRequestError: the request has none, another one, or more than one.
    """
    entries = tables(table, "inputs")
    names = [entry.get("name") for entry in entries]
    if names != [spec.name]:
        raise MalformedRequestError(
            f"the inputs are {shown(names)}; send one, named {spec.name!r}, {_forms(spec)}"
        )
    return entries[0]


def check_number(images: int, limits: Limits) -> None:
    """Refuse no image, and more than one request may bring.

    Raises:
        MalformedRequestError: there is none.
        BodyTooLargeError: there are too many.
    """
    if images == 0:
        raise MalformedRequestError("the request brings no image; send at least one")
    if images > limits.max_images:
        raise BodyTooLargeError(
            f"the request brings {images:,} images; at most {limits.max_images} are taken; send "
            "them in several requests"
        )


def _check_form(datatype: Any, shape: list[int], spec: ImageSpec) -> None:
    known = isinstance(datatype, str) and datatype in DATATYPES
    if datatype not in (UINT8, BYTES):
        what = "is not taken" if known else "is no datatype"
        raise MalformedRequestError(f"{shown(datatype)} {what}; send {_forms(spec)}")
    fits = len(shape) == 1 if datatype == BYTES else tuple(shape[1:]) == spec.image_shape
    if not fits:
        raise MalformedRequestError(
            f"{datatype} of shape {shown(shape)} is not taken; send {_forms(spec)}"
        )


def _forms(spec: ImageSpec) -> str:
    sizes = ", ".join(map(str, spec.image_shape))
    return f"{UINT8} [N, {sizes}] with pixels or {BYTES} [N] with image files"
