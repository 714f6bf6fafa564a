"""What a network takes for a picture: how it is cut out, and what becomes of its pixels.

    file ─► resized and cropped by the manifest's rule ─► uint8 (N, H, W, C)     `models.manifest`
         ─► (x - mean) / deviation, in the network's order of channels and axes  nodes of the graph

Means and deviations are in units of pixels, 0 to 255. Frameworks that scale to 0..1 first state
them in that unit: 255 times theirs is the same.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from models.tensors import Interpolation, Resize
from training.errors import ExportError

Layout = Literal["NCHW", "NHWC"]
ChannelOrder = Literal["RGB", "BGR", "grey"]
FULL = 255.0
# Of Pillow, which transformers counts in.
RESAMPLING: tuple[Interpolation, ...] = (
    "nearest",
    "lanczos",
    "bilinear",
    "bicubic",
    "box",
    "hamming",
)


@dataclass(frozen=True)
class Pipeline:
    """From a picture to what the network computes on; None is taken from the graph.

    Attributes:
        size: height and width of the network's input.
        resize: the rule; `shortest-side` where `resize_to` is one number.
        resize_to: what a picture is resized to before the crop; empty: to `size`.
        interpolation: the filter.
        channels: order of the colours that the network takes.
        mean, deviation: of pixels, one number or one for each channel.
        layout: order of the axes of the network's input.
    """

    size: tuple[int, int] | None = None
    resize: Resize | None = None
    resize_to: tuple[int, ...] = ()
    interpolation: Interpolation = "bilinear"
    channels: ChannelOrder = "RGB"
    mean: tuple[float, ...] = (0.0,)
    deviation: tuple[float, ...] = (1.0,)
    layout: Layout | None = None

    def __post_init__(self) -> None:
        for name, values in (("mean", self.mean), ("std", self.deviation)):
            if len(values) not in (1, 3) or (self.channels == "grey" and len(values) != 1):
                raise ExportError(
                    f"--{name} has {len(values)} numbers; give one, or one for each channel"
                )
        if not all(value > 0 for value in self.deviation):
            raise ExportError(
                f"--std {self.deviation}: pixels are divided by it, give numbers above 0"
            )

    @property
    def channel_count(self) -> int:
        """How many numbers a pixel has."""
        return 1 if self.channels == "grey" else 3

    def in_words(self, size: tuple[int, int]) -> str:
        """Return what becomes of the pixels of an image of that height and width."""
        order = {"RGB": "", "BGR": ", blue before red", "grey": ""}[self.channels]
        scale = f"minus {_numbers(self.mean)}, divided by {_numbers(self.deviation)}"
        axes = "channels first" if self.layout == "NCHW" else "channels last"
        return f"{size[0]} by {size[1]} pixels{order}, {scale}, {axes}"


def _numbers(values: Sequence[float]) -> str:
    return ", ".join(f"{value:.6g}" for value in values)


def from_preprocessor(path: Path) -> Pipeline:
    """Return what a transformers `preprocessor_config.json` says.

    Raises:
        ExportError: it cannot be read, or asks for what cannot be done exactly.
    """
    table = _json(path)
    if not isinstance(table, dict):
        raise ExportError(f"{path} holds no table; name a preprocessor_config.json")
    crop = table.get("crop_size") if table.get("do_center_crop") else None
    to = table.get("size") if table.get("do_resize", True) else None
    resize, resize_to = _resizing(path, to)
    size = _height_and_width(path, "crop_size", crop) if crop is not None else None
    if size is None and resize == "exact":
        size = (resize_to[0], resize_to[1])
    return Pipeline(
        size=size,
        resize=resize,
        resize_to=resize_to,
        interpolation=_resampling(path, table.get("resample", 2)),
        mean=_pixels(path, "image_mean", table, 0.0),
        deviation=_pixels(path, "image_std", table, 1.0),
    )


def from_timm(config: Mapping[str, Any]) -> Pipeline:
    """Return what a timm network's `pretrained_cfg` says of its evaluation.

    Raises:
        ExportError: it crops in a way that cannot be done exactly.
    """
    _, *sizes = config["input_size"]
    size = (int(sizes[0]), int(sizes[1]))
    to = [math.floor(side / config.get("crop_pct", 0.875)) for side in size]
    mode = config.get("crop_mode", "center")
    if mode not in ("center", "squash") or (mode == "center" and size[0] != size[1]):
        raise ExportError(
            f"timm's crop_mode = {mode} of {size[0]} by {size[1]} pixels is not known; give "
            "--size and --resize"
        )
    return Pipeline(
        size=size,
        resize="shortest-side" if mode == "center" else "exact",
        resize_to=(to[0],) if mode == "center" else (to[0], to[1]),
        interpolation=interpolation_of(str(config["interpolation"])),
        mean=tuple(FULL * value for value in config["mean"]),
        deviation=tuple(FULL * value for value in config["std"]),
    )


def _resizing(path: Path, size: Any) -> tuple[Resize | None, tuple[int, ...]]:
    if size is None:
        return None, ()
    if isinstance(size, int):
        return "shortest-side", (size,)
    if isinstance(size, dict) and set(size) == {"shortest_edge"}:
        return "shortest-side", (int(size["shortest_edge"]),)
    return "exact", _height_and_width(path, "size", size)


def _height_and_width(path: Path, key: str, value: Any) -> tuple[int, int]:
    if isinstance(value, int):
        return value, value
    if isinstance(value, dict) and set(value) == {"height", "width"}:
        return int(value["height"]), int(value["width"])
    raise ExportError(
        f"{path}: {key} = {value} is neither a number nor height and width; give --size and "
        "--resize"
    )


def _resampling(path: Path, value: Any) -> Interpolation:
    if isinstance(value, int) and 0 <= value < len(RESAMPLING):
        return RESAMPLING[value]
    raise ExportError(f"{path}: resample = {value} is none of 0 to {len(RESAMPLING) - 1}")


def _pixels(path: Path, key: str, table: Mapping[str, Any], default: float) -> tuple[float, ...]:
    """Return means or deviations in units of pixels."""
    factor = (
        1 / float(table.get("rescale_factor", 1 / FULL)) if table.get("do_rescale", True) else 1
    )
    values = table.get(key) if table.get("do_normalize", True) else None
    try:
        numbers = [default] if values is None else [float(value) for value in values]
    except (TypeError, ValueError) as error:
        raise ExportError(f"{path}: {key} = {values} are no numbers") from error
    return tuple(factor * number for number in numbers)


def read_labels(given: str | os.PathLike[str] | Sequence[str]) -> tuple[str, ...]:
    """Return the classes' names by index: as given, or of a file.

    A file has a line for each, or is JSON: a list, or a table by index, as `id2label`.

    Raises:
        ExportError: it cannot be read, a name is empty, or an index is missing.
    """
    path = Path(given) if isinstance(given, str | os.PathLike) else Path("labels")
    if not isinstance(given, str | os.PathLike):
        labels = list(given)
    elif path.suffix == ".json":
        table = _json(path)
        found = table.get("id2label", table) if isinstance(table, dict) else table
        if isinstance(found, dict):
            missing = [str(n) for n in range(len(found)) if str(n) not in found]
            if missing:
                raise ExportError(f"{path} has no label for class {missing[0]}; name them 0, 1, …")
            found = [found[str(n)] for n in range(len(found))]
        if not isinstance(found, list) or not all(isinstance(one, str) for one in found):
            raise ExportError(f"{path} holds no list of labels, nor a table of them by index")
        labels = found
    else:
        labels = [line.strip() for line in _text(path).splitlines()]
    empty = next((number for number, label in enumerate(labels) if not label), None)
    if empty is not None:
        raise ExportError(f"{path}: the label of class {empty} is empty; give every class a name")
    if len(labels) < 2:
        raise ExportError(f"{path} names {len(labels)} classes; a classifier has at least 2")
    return tuple(labels)


def _json(path: Path) -> Any:
    try:
        return json.loads(_text(path))
    except ValueError as error:
        raise ExportError(f"{path} is not JSON: {error}") from error


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "no UTF-8 text"
        raise ExportError(f"cannot read {path} ({reason})") from error


def numbers_of(option: str, text: str) -> tuple[float, ...]:
    """Return the numbers of an option, separated by commas.

    Raises:
        ExportError: one is none.
    """
    try:
        return tuple(float(number) for number in text.split(","))
    except ValueError:
        raise ExportError(f"--{option} {text}: give one number, or several as 1,2,3") from None


def sizes_of(option: str, text: str) -> tuple[int, ...]:
    """Return one or two sizes in pixels, as in 224 or 224,320: height and width.

    Raises:
        ExportError: they are none.
    """
    numbers = numbers_of(option, text)
    sizes = tuple(int(number) for number in numbers)
    if len(sizes) > 2 or any(size != n or size < 1 for size, n in zip(sizes, numbers, strict=True)):
        raise ExportError(f"--{option} {text}: give pixels, one number or height,width")
    return sizes


def interpolation_of(name: str) -> Interpolation:
    """Return the filter of a name.

    Raises:
        ExportError: there is none.
    """
    for known in get_args(Interpolation):
        if name == known:
            return known  # type: ignore[no-any-return]
    raise ExportError(f"--interpolation {name}: take one of {', '.join(get_args(Interpolation))}")
