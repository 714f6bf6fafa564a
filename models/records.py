"""Frozen dataclasses from plain JSON or TOML values, strictly.

A key that the dataclass does not have, a key that is missing and a value of another type are all
errors that say where they stand: a misspelt option is never ignored in silence.
"""

from __future__ import annotations

import dataclasses
import types
import typing
from reprlib import repr as brief
from typing import Any, TypeVar

T = TypeVar("T")

# Without the sign, as TOML has it; an integer far beyond would not even become a float.
MAX_INTEGER_BITS = 63


class RecordError(ValueError):
    """The values do not fit the record; the message names the place and what was expected."""


def record_from_dict(cls: type[T], table: object, where: str) -> T:
    """Build a dataclass, and those nested in it, from plain values.

    Raises:
        RecordError: an unknown or missing key, or a value of the wrong type.
    """
    if not isinstance(table, dict):
        raise RecordError(f"{where} must be a table, not {_kind(table)}")
    hints = typing.get_type_hints(cls)
    fields = {entry.name: entry for entry in dataclasses.fields(cls)}  # type: ignore[arg-type]
    unknown = sorted(set(table) - set(fields))
    if unknown:
        raise RecordError(f"{where}: unknown key {unknown[0]!r}; known: {', '.join(fields)}")
    for name, entry in fields.items():
        if name not in table and not _has_default(entry):
            raise RecordError(f"{where}: the key {name!r} is missing")
    return cls(**{key: _value(hints[key], item, f"{where}: {key}") for key, item in table.items()})


def _has_default(entry: dataclasses.Field[Any]) -> bool:
    missing = dataclasses.MISSING
    return entry.default is not missing or entry.default_factory is not missing


def _value(expected: Any, value: Any, where: str) -> Any:
    """Return a value as the type that its field declares."""
    if isinstance(value, int) and value.bit_length() > MAX_INTEGER_BITS:
        raise RecordError(
            f"{where} is an integer of {value.bit_length()} bits; "
            f"at most {MAX_INTEGER_BITS} and a sign are read, write a smaller one"
        )
    origin, arguments = typing.get_origin(expected), typing.get_args(expected)
    if expected is Any or expected is object:
        return value
    if origin is types.UnionType or origin is typing.Union:
        return _union_value(arguments, value, where)
    if origin is typing.Literal:
        if value not in arguments:
            raise RecordError(
                f"{where} = {brief(value)} must be one of {', '.join(map(str, arguments))}"
            )
        return value
    if dataclasses.is_dataclass(expected):
        return record_from_dict(typing.cast("type[Any]", expected), value, where)
    if origin is tuple:
        if not isinstance(value, list | tuple):
            raise RecordError(f"{where} must be a list, not {_kind(value)}")
        return tuple(_value(arguments[0], item, f"{where}[{i}]") for i, item in enumerate(value))
    if origin is dict:
        if not isinstance(value, dict):
            raise RecordError(f"{where} must be a table, not {_kind(value)}")
        return {
            _value(arguments[0], key, where): _value(arguments[1], item, f"{where}.{key}")
            for key, item in value.items()
        }
    return _scalar(expected, value, where)


def _union_value(alternatives: tuple[Any, ...], value: Any, where: str) -> Any:
    kinds = {kind: cls for cls in alternatives for kind in _kinds_of(cls)}
    if kinds and isinstance(value, dict):
        kind = value.get("kind", next(iter(kinds)))  # by default the first
        if kind not in kinds:
            raise RecordError(f"{where}: kind = {brief(kind)} must be one of {', '.join(kinds)}")
        return record_from_dict(kinds[kind], value, where)
    failures = []
    for alternative in alternatives:
        if alternative is type(None):
            if value is None:
                return None
            continue
        try:
            return _value(alternative, value, where)
        except RecordError as error:
            failures.append(error)
    raise failures[0]


def _kinds_of(cls: Any) -> tuple[str, ...]:
    """Return the values of a dataclass' literal field `kind`, by which a union is told apart."""
    if not dataclasses.is_dataclass(cls):
        return ()
    return typing.get_args(typing.get_type_hints(cls).get("kind"))


def _scalar(expected: type, value: Any, where: str) -> Any:
    if expected is float and type(value) is int:
        return float(value)
    if type(value) is not expected:  # bool is an int to isinstance, and is not meant here
        raise RecordError(
            f"{where} = {brief(value)} must be {expected.__name__}, not {_kind(value)}"
        )
    return value


def _kind(value: object) -> str:
    return type(value).__name__
