"""What is asked of `pack`, from the words of the command line or the keywords of Python."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

from training.errors import ExportError
from training.release.packing.classifier import Scores
from training.release.packing.pack import Packing
from training.release.packing.pipeline import (
    ChannelOrder,
    Layout,
    Pipeline,
    from_preprocessor,
    interpolation_of,
    numbers_of,
    read_labels,
    sizes_of,
)

PIXELS = ("size", "resize", "interpolation", "channels", "mean", "std", "layout")


def packing_of(
    name: str,
    version: str,
    labels: str | os.PathLike[str] | Sequence[str],
    preprocessor: Path | None,
    pixels: Mapping[str, object],
    said: Mapping[str, Any],
    base: Pipeline | None = None,
) -> Packing:
    """Return what is asked for; numbers are as they are written, `1,2,3`, or Python's own.

    `pixels` changes what a `preprocessor` says, or `base`. Of `said` the keys are those of
    `Packing`.

    Raises:
        TypeError: there is no such keyword.
        ExportError: a value is none of those that are known.
    """
    for key in pixels:
        if key not in PIXELS:
            raise TypeError(
                f"pack() has no keyword {key!r}; of pixels it knows {', '.join(PIXELS)}"
            )
    given = {key: _text(value) for key, value in pixels.items() if value is not None}
    pipeline = base or Pipeline()
    if preprocessor is not None:
        pipeline = from_preprocessor(preprocessor)
    _choice("scores", said.get("scores"), Scores)
    return Packing(
        name=name,
        version=version,
        labels=read_labels(labels),
        pipeline=replace(pipeline, **_changes(given)),
        **said,
    )


def _changes(given: Mapping[str, str]) -> dict[str, Any]:
    changes: dict[str, Any] = {}
    if "size" in given:
        sizes = sizes_of("size", given["size"])
        changes["size"] = (sizes[0], sizes[-1])
    if "resize" in given:
        changes |= {"resize": None, "resize_to": sizes_of("resize", given["resize"])}
    if "interpolation" in given:
        changes["interpolation"] = interpolation_of(given["interpolation"])
    for option, field in (("mean", "mean"), ("std", "deviation")):
        if option in given:
            changes[field] = numbers_of(option, given[option])
    for option, choices in (("channels", ChannelOrder), ("layout", Layout)):
        if option in given:
            changes[option] = _choice(option, given[option], choices)
    return changes


def _choice(option: str, value: str | None, choices: object) -> str | None:
    known = get_args(choices)
    if value is not None and value not in known:
        raise ExportError(f"--{option} {value}: take one of {', '.join(known)}")
    return value


def _text(value: object) -> str:
    """Return a value as it is written on the command line."""
    if isinstance(value, Sequence) and not isinstance(value, str):
        return ",".join(map(str, value))
    return str(value)
