"""From a picture to the pixels that a network takes, by the rule of its `ImageSpec`.

    central-crop     the largest central part of the network's proportions ─► resampled to H by W
    shortest-side    colours ─► the shorter side becomes `resize_to` ─► the central H by W
    exact            colours ─► resampled to `resize_to`, whatever its proportions ─► the same

Of the last two every size, offset and filter is that of torchvision's `Resize` and `CenterCrop` on
a Pillow image, black beyond its borders. They differ from a training pipeline in three things:

- Pictures are turned upright first, as their EXIF says; most pipelines leave EXIF aside.
- Grey of 16 bits keeps its high bytes, where Pillow's `convert("RGB")` clips it at 255. Of every
  other mode the colours are that conversion's, and a grey network's those of `convert("L")`.
- By shortest-side, what is more than 64 times as long as wide is cut to that about its middle:
  resized whole it would take gigabytes.

They decode in full. The first is the rule of Foldnorm's own networks, for which a big photo is
decoded at a fraction of its size, since JPEG stores it by frequencies; on photographs that moves
single pixels by up to 9 levels of 255 (docs/adr/0015), which is not what a framework gives.
"""

from __future__ import annotations

import contextlib

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image

from models.tensors import ImageSpec, Interpolation

FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "GIF")  # of the files that are opened
DRAFT_GAP = 4  # times the size that a draft keeps at least, for the filter to work on
MAX_PROPORTION = 64  # of the longer side to the shorter
# Where Pillow looks for an orientation; most images have none of them and spare the search.
ORIENTING = {"exif", "Raw profile type exif", "Raw profile type APP1", "xmp", "XML:com.adobe.xmp"}
TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
SWAPPING = (
    Image.Transpose.TRANSPOSE,
    Image.Transpose.ROTATE_270,
    Image.Transpose.TRANSVERSE,
    Image.Transpose.ROTATE_90,
)  # turns that make widths of heights
BACKGROUND = (255, 255, 255)
FILTERS: dict[Interpolation, Image.Resampling] = {
    "lanczos": Image.Resampling.LANCZOS,
    "bicubic": Image.Resampling.BICUBIC,
    "bilinear": Image.Resampling.BILINEAR,
    "nearest": Image.Resampling.NEAREST,
    "box": Image.Resampling.BOX,
    "hamming": Image.Resampling.HAMMING,
}


def preprocess(image: Image.Image, spec: ImageSpec) -> NDArray[np.uint8]:
    """Return a picture, of which perhaps only the header was read, as (H, W, C) uint8.

    Raises:
        Exception: the file is damaged; Pillow raises nearly anything.
    """
    part = _central_crop(image, spec) if spec.resize == "central-crop" else _cut_out(image, spec)
    return np.frombuffer(part.tobytes(), np.uint8).reshape(spec.image_shape)


def _central_crop(image: Image.Image, spec: ImageSpec) -> Image.Image:
    height, width, _ = spec.image_shape
    gap = DRAFT_GAP * max(height, width)
    draft = image.draft(None, (gap, gap))
    image.load()
    # The last block of a draft lies partly beyond the photo: its edge is within a pixel.
    extent = draft[1][2:] if draft else image.size
    turn = _turn(image)
    size = (height, width) if turn in SWAPPING else (width, height)
    image = _to_colours(image)
    if image.size != size:
        scale = min(extent[0] / size[0], extent[1] / size[1])
        across, down = scale * size[0], scale * size[1]
        left, top = (extent[0] - across) / 2, (extent[1] - down) / 2
        image = image.resize(
            size,
            FILTERS[spec.interpolation],
            box=(left, top, left + across, top + down),
            reducing_gap=3.0,
        )
    image = _opaque(image, spec)
    return image if turn is None else image.transpose(turn)


def _cut_out(image: Image.Image, spec: ImageSpec) -> Image.Image:
    height, width, _ = spec.image_shape
    image.load()
    turn = _turn(image)
    upright = image if turn is None else image.transpose(turn)
    part = _centred(upright, _bounded_size(upright.size, spec))
    coloured = _opaque(_to_colours(part), spec)
    size = _resized_size(coloured.size, spec)
    if size != coloured.size:
        coloured = coloured.resize(size, FILTERS[spec.interpolation])
    return _centred(coloured, (width, height))


def pixels_at_once(size: tuple[int, int], spec: ImageSpec) -> int:
    """Return how many pixels a picture's largest form has: as it came, or resized.

    Args:
        size: width and height, as the file's header announces them.
        spec: the rule.
    """
    if spec.resize == "central-crop":
        height, width, _ = spec.image_shape
    else:
        width, height = _resized_size(_bounded_size(size, spec), spec)
    return max(size[0] * size[1], width * height)


def _resized_size(size: tuple[int, int], spec: ImageSpec) -> tuple[int, int]:
    """Return what a picture's width and height become before the crop."""
    if spec.resize == "exact":
        height, width = spec.resize_to
        return width, height
    (short,) = spec.resize_to
    longer = int(short * max(size) / min(size))
    return (short, longer) if size[0] <= size[1] else (longer, short)


def _bounded_size(size: tuple[int, int], spec: ImageSpec) -> tuple[int, int]:
    """Return the width and height that are resized: those of the picture, unless it is too thin.

    What goes on either side is a whole, even number of resized pixels, so that every other one
    stays where it is.
    """
    if spec.resize == "exact":
        return size
    width, height = size
    return _bounded_side(width, height), _bounded_side(height, width)


def _bounded_side(side: int, other: int) -> int:
    spare = max(0, side - MAX_PROPORTION * other)
    return side - spare // (4 * other) * (4 * other)


def _centred(image: Image.Image, size: tuple[int, int]) -> Image.Image:
    """Return the central part of that width and height, black where there is nothing."""
    if size == image.size:
        return image
    left, top = (_before(*sides) for sides in zip(image.size, size, strict=True))
    return image.crop((left, top, left + size[0], top + size[1]))


def _before(size: int, wanted: int) -> int:
    """Return where the central part begins; below 0 where there is less than is wanted."""
    return round((size - wanted) / 2) if size >= wanted else -((wanted - size) // 2)


def _turn(image: Image.Image) -> Image.Transpose | None:
    """Return how to turn the image as its camera was held; unreadable EXIF says nothing."""
    if ORIENTING.isdisjoint(image.info):
        return None
    with contextlib.suppress(Exception):
        return TURNS.get(image.getexif().get(ExifTags.Base.Orientation, 1))
    return None


def _to_colours(image: Image.Image) -> Image.Image:
    """Return the image as RGB, or as RGBA where it has any kind of transparency."""
    if image.mode.startswith("I"):
        return _from_16_bit(image)
    wanted = "RGBA" if image.has_transparency_data else "RGB"
    return image if image.mode == wanted else image.convert(wanted)


def _from_16_bit(image: Image.Image) -> Image.Image:
    """Return the high bytes of a greyscale image of 16 bits; Pillow's conversion clips at 255."""
    values = np.asarray(image)  # (H, W) uint16
    grey = Image.fromarray((values >> 8).astype(np.uint8))
    if "transparency" not in image.info:
        return grey
    opaque = values != image.info["transparency"]  # one grey value says that nothing is there
    grey.putalpha(Image.fromarray(opaque.astype(np.uint8) * 255))
    return grey.convert("RGBA")


def _opaque(image: Image.Image, spec: ImageSpec) -> Image.Image:
    """Return the image in the colours that the network takes, without transparency."""
    if image.mode == "RGBA" and spec.transparency == "white":
        page = Image.new("RGB", image.size, BACKGROUND)
        page.paste(image, mask=image)
        image = page
    image = image if image.mode == "RGB" else image.convert("RGB")
    return image.convert("L") if spec.colour_order == "grey" else image
