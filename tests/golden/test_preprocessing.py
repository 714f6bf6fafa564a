"""Pictures are resized and cropped as torchvision and timm do it, to the pixel."""

from __future__ import annotations

import io
import json
from itertools import islice
from typing import Any

import PIL
import pytest
from PIL import Image

from models.preprocessing import preprocess
from models.tensors import ImageSpec
from tests.golden.preprocessing_reference import (
    EVERY,
    FILE,
    NETWORKS,
    PIPELINES,
    digest,
    files,
    pictures,
)
from training.release.packing.pipeline import from_timm

REFERENCE: dict[str, Any] = json.loads(FILE.read_text(encoding="utf-8"))
same_pillow = pytest.mark.skipif(
    PIL.__version__.split(".")[0] != REFERENCE["pillow"].split(".")[0],
    reason="another major version of Pillow may round elsewhere",
)


def spec(pipeline: tuple[Any, ...], transparency: str = "ignored") -> ImageSpec:
    resize, to, crop, interpolation, colours = pipeline
    return ImageSpec(
        "image",
        "uint8",
        ("N", *crop, 1 if colours == "grey" else 3),
        colour_order=colours,
        resize=resize,
        resize_to=to,
        interpolation=interpolation,
        transparency=transparency,  # type: ignore[arg-type]
    )


def different(
    drawn: dict[str, Image.Image], asked: ImageSpec, references: list[str], number: int
) -> list[str]:
    """Return which pictures do not become the pixels of a reference's pipeline."""
    return [
        name
        for (name, image), hashes in zip(drawn.items(), references, strict=True)
        if digest(preprocess(image, asked)) != hashes.split()[number]
    ]


@pytest.fixture(scope="module")
def drawn() -> dict[str, Image.Image]:
    return {f"{n} {one.mode} {one.size}": one for n, one in enumerate(pictures())}


@same_pillow
@pytest.mark.parametrize("number", range(len(PIPELINES)), ids=str)
def test_every_pixel_is_torchvision_s(drawn: dict[str, Image.Image], number: int) -> None:
    assert different(drawn, spec(PIPELINES[number]), REFERENCE["pixels"], number) == []


@same_pillow
@pytest.mark.parametrize("number", range(len(PIPELINES)), ids=str)
def test_every_pixel_of_a_file_of_any_kind_is_torchvision_s(number: int) -> None:
    opened = {name: Image.open(io.BytesIO(content)) for name, content in files()}
    assert list(opened) == list(REFERENCE["files"])
    references = list(REFERENCE["files"].values())
    assert different(opened, spec(PIPELINES[number]), references, number) == []


@same_pillow
@pytest.mark.parametrize("name", NETWORKS)
def test_every_pixel_is_timm_s_by_the_network_s_configuration(
    drawn: dict[str, Image.Image], name: str
) -> None:
    found = from_timm(REFERENCE["configurations"][name])
    pipeline = (found.resize, found.resize_to, found.size, found.interpolation, "RGB")
    some = dict(islice(drawn.items(), 0, None, EVERY))
    number = NETWORKS.index(name)
    assert different(some, spec(pipeline), REFERENCE["networks"], number) == []


@same_pillow
@pytest.mark.parametrize(
    "other",
    [
        ("shortest-side", (257,), (224, 224), "bilinear", "RGB"),
        ("shortest-side", (256,), (224, 224), "hamming", "RGB"),
        ("exact", (256, 256), (224, 224), "bilinear", "RGB"),
    ],
    ids=lambda pipeline: pipeline[0] + pipeline[3],
)
def test_another_size_filter_or_rule_would_be_noticed(
    drawn: dict[str, Image.Image], other: tuple[Any, ...]
) -> None:
    some = dict(islice(drawn.items(), 1, 10))
    assert len(different(some, spec(other), REFERENCE["pixels"][1:10], 0)) == 9
