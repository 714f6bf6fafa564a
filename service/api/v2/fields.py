"""The protocol's JSON objects: bounded before they are parsed, their fields checked."""

from __future__ import annotations

from typing import Any

import orjson

from service.api.v2.responses import UnsupportedFeatureError, shown
from service.errors import BodyTooLargeError, MalformedRequestError

Table = dict[str, Any]  # a JSON object as it came
HEADER = "Inference-Header-Content-Length"
# Names, shapes, parameters and outputs: far more of each than any request has use for.
SPARE_ITEMS = 512


def tables(table: Table, key: str) -> list[Table]:
    """Return a list of objects; an empty one where it is absent or null.

    Raises:
        MalformedRequestError: the field is something else.
    """
    entries = table.get(key)
    if entries is None:
        return []
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise MalformedRequestError(f"{key!r} is {shown(entries)}; send a list of objects")
    return entries


def parameters_of(table: Table, owner: str) -> Table:
    """Return the parameters of a request, an input or an output; unknown ones may be among them.

    Raises:
        MalformedRequestError: they are no object of strings, numbers and bools.
        UnsupportedFeatureError: they name a region of shared memory.
    """
    parameters = table.get("parameters")
    if parameters is None:
        return {}
    if not isinstance(parameters, dict):
        raise MalformedRequestError(
            f"the parameters of {owner} are {shown(parameters)}; send an object"
        )
    for key, value in parameters.items():
        if isinstance(value, list | dict):
            raise MalformedRequestError(
                f"the parameter {shown(key)} of {owner} is {shown(value)}; send a string, a "
                "number or a bool"
            )
        if key.startswith("shared_memory_"):
            raise UnsupportedFeatureError(
                f"{owner} uses shared memory, which is not served; send the data in the body"
            )
    return parameters


def flag(table: Table, key: str, *, default: bool) -> bool:
    """Return a bool.

    Raises:
        MalformedRequestError: the field is something else.
    """
    value = table.get(key, default)
    if not isinstance(value, bool):
        raise MalformedRequestError(f"{key} is {shown(value)}; send true or false")
    return value


def parse_object(text: bytes, max_numbers: int = 0, max_lists: int = 0) -> Table:
    """Return the table that JSON text holds.

    What would become far more objects than these numbers and lists of pixels, and the few that a
    request needs besides, is refused before it is parsed.

    Raises:
        MalformedRequestError: the text is no JSON object.
        BodyTooLargeError: it lists more than the images of one request.
    """
    numbers, lists = max_numbers + SPARE_ITEMS, max_lists + SPARE_ITEMS
    if text.count(b",") > numbers or text.count(b"[") > lists:
        raise BodyTooLargeError(
            f"the JSON lists more than {numbers:,} values or {lists:,} lists, which is more than "
            "the images of one request; send them in several requests, or as binary data"
        )
    if text.count(b"{") > SPARE_ITEMS:
        raise MalformedRequestError(
            f"the JSON has more than {SPARE_ITEMS} objects; one input and two outputs have fewer"
        )
    try:
        table = orjson.loads(text)
    except orjson.JSONDecodeError as exc:
        raise MalformedRequestError(
            f"the {len(text):,} bytes of JSON cannot be read: {exc}; send one JSON object, and "
            f"with bytes after it its length in {HEADER}"
        ) from exc
    if not isinstance(table, dict):
        raise MalformedRequestError(
            f"the JSON is a {type(table).__name__}; send an object with 'inputs'"
        )
    return table
