"""What becomes of a picture on its way to a packed network, in words and before a reader's eyes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from PIL import Image, ImageOps

from models.preprocessing import FORMATS, preprocess
from models.tensors import ImageSpec
from training.errors import DataError
from training.release.packing.classifier import Classifier
from training.release.packing.pack import Packing, image_spec
from training.release.packing.served_graph import kind_of_scores

SHOWN = 448  # pixels of the longer side of either picture
GAP = 16  # between the two


def steps_of(classifier: Classifier, asked: Packing) -> list[str]:
    """Return the steps from a file to probabilities, a line each."""
    spec = image_spec(classifier, asked.pipeline)
    pipeline = replace(asked.pipeline, layout=classifier.layout)
    colours = "grey" if spec.colour_order == "grey" else "RGB, transparency ignored"
    kind = kind_of_scores(classifier, asked.scores)
    return [
        f"file     {', '.join(FORMATS)}: decoded, turned upright, {colours}",
        f"resize   {_resizing(spec)}",
        f"crop     the central {spec.image_shape[0]} by {spec.image_shape[1]} pixels",
        f"graph    {pipeline.in_words(classifier.size)}",
        f"scores   {kind} of {classifier.scores.name}, {len(asked.labels):,} classes",
    ]


def _resizing(spec: ImageSpec) -> str:
    how = f"{spec.interpolation} filter"
    if spec.resize == "exact":
        height, width = spec.resize_to
        return f"to {height} by {width} pixels, whatever its proportions; {how}"
    return f"the shorter side to {spec.resize_to[0]} pixels; {how}"


def write_before_and_after(picture: Path, spec: ImageSpec, target: Path) -> None:
    """Write a PNG with a picture, and beside it what the network takes of it, enlarged.

    Raises:
        DataError: the file cannot be read, or is no image that is taken.
    """
    try:
        with Image.open(picture, formats=FORMATS) as image:
            pixels = preprocess(image, spec)
        with Image.open(picture, formats=FORMATS) as image:
            before = ImageOps.exif_transpose(image).convert("RGB")
    except Exception as error:  # a damaged file makes Pillow raise nearly anything
        raise DataError(
            f"cannot decode {picture} ({error}); name a picture of {', '.join(FORMATS)}"
        ) from error
    after = Image.fromarray(pixels.squeeze()).convert("RGB")
    shown = [_scaled(before, Image.Resampling.LANCZOS), _scaled(after, Image.Resampling.NEAREST)]
    height = max(image.height for image in shown)
    canvas = Image.new("RGB", (sum(image.width for image in shown) + GAP, height), "white")
    canvas.paste(shown[0], (0, 0))
    canvas.paste(shown[1], (shown[0].width + GAP, 0))
    canvas.save(target, "PNG")


def _scaled(image: Image.Image, by: Image.Resampling) -> Image.Image:
    factor = SHOWN / max(image.size)
    width, height = (max(1, round(side * factor)) for side in image.size)
    return image.resize((width, height), by)
