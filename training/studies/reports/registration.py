"""What has changed in a design since it was registered."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any


def changes(registered: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """Return a line for each value that is not what was registered, by its dotted key."""
    before, after = dict(_leaves(registered)), dict(_leaves(now))
    return [
        f"`{key}`: {_words(before, key)}, now {_words(after, key)}"
        for key in sorted(before.keys() | after.keys())
        if before.get(key) != after.get(key)
    ]


def _leaves(value: object, prefix: str = "") -> Iterator[tuple[str, object]]:
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _leaves(inner, f"{prefix}.{key}" if prefix else str(key))
    elif isinstance(value, list) and value and isinstance(value[0], Mapping):
        for index, inner in enumerate(value):
            yield from _leaves(inner, f"{prefix}[{index}]")
    else:
        yield prefix, value


def _words(leaves: Mapping[str, object], key: str) -> str:
    return repr(leaves[key]) if key in leaves else "absent"
