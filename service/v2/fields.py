"""The fields of the protocol's JSON objects, checked for their kind."""

from __future__ import annotations

from typing import Any

from service.errors import MalformedRequestError
from service.v2.errors import UnsupportedFeatureError, shown

Table = dict[str, Any]  # a JSON object as it came


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
