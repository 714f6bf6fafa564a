"""An ONNX file as a classifier of images: its input, its scores, or why it is none."""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import onnx_ir as ir

from training.errors import ExportError
from training.folding.onnx_frontend.files import LIMIT_BYTES, external_tensors, read_model
from training.release.packing.pipeline import Layout, Pipeline

Scores = Literal["logits", "probabilities"]
FLOATING = (ir.DataType.FLOAT16, ir.DataType.BFLOAT16, ir.DataType.DOUBLE)


@dataclass(frozen=True)
class Classifier:
    """A model that takes images and scores classes, as it came.

    Attributes:
        size: height and width of its input.
        layout: order of the axes of its input.
        scores: its output, (N, classes), perhaps with axes of size 1 behind.
    """

    model: ir.Model
    source: Path
    size: tuple[int, int]
    layout: Layout
    input: ir.Value
    scores: ir.Value

    @property
    def sha256(self) -> str:
        """The hash of the file as it came."""
        return hashlib.sha256(self.source.read_bytes()).hexdigest()


def read_classifier(path: Path, pipeline: Pipeline, output: str | None = None) -> Classifier:
    """Return the classifier of a file; `output` names its scores where it has several outputs.

    Raises:
        FoldError: the file cannot be read.
        ExportError: it is no classifier of images, or `pipeline` contradicts it.
    """
    model = read_model(path)
    total = path.stat().st_size + sum(tensor.nbytes for tensor in external_tensors(model))
    if total > LIMIT_BYTES:
        raise ExportError(
            f"{path}: {total:,} bytes with its weights, and a graph of an artifact is one file of "
            f"at most {LIMIT_BYTES:,}; pack a smaller network"
        )
    _check_weights(path, model)
    image = _input(path, model)
    layout = _layout(path, image, pipeline)
    size = _size(path, image, layout, pipeline)
    return Classifier(model, path, size, layout, image, _output(path, model, output))


def _check_weights(path: Path, model: ir.Model) -> None:
    for graph in model.graphs():
        for name, value in graph.initializers.items():
            tensor = value.const_value
            if tensor is None or tensor.dtype not in (ir.DataType.FLOAT, *FLOATING):
                continue
            bad = tensor.numpy().size - int(np.isfinite(tensor.numpy().astype(np.float64)).sum())
            if bad:
                raise ExportError(
                    f"{path}: {bad:,} of the weights {name!r} are not finite; export a network "
                    "whose training did not diverge"
                )


def _input(path: Path, model: ir.Model) -> ir.Value:
    given = [value for value in model.graph.inputs if value.name not in model.graph.initializers]
    if len(given) != 1:
        names = ", ".join(str(value.name) for value in given)
        raise ExportError(
            f"{path} takes {len(given)} inputs ({names}); a classifier of images takes one"
        )
    (image,) = given
    kind = image.dtype
    if kind in FLOATING:
        raise ExportError(
            f"{path}: the input {image.name!r} is {kind}, and graphs are packed in float32; export "
            "the network in it: torch.onnx.export(model.float(), …)"
        )
    if kind is not ir.DataType.FLOAT:
        raise ExportError(
            f"{path}: the input {image.name!r} is {kind}, and images are float32; this is no "
            "classifier of images, or its preprocessing is in the graph already"
        )
    if image.shape is None or image.shape.rank() != 4:
        shape = "of no stated shape" if image.shape is None else f"{_shape(image)}"
        raise ExportError(
            f"{path}: the input {image.name!r} is {shape}, and images are (N, C, H, W) or "
            "(N, H, W, C)"
        )
    return image


def _layout(path: Path, image: ir.Value, pipeline: Pipeline) -> Layout:
    count = pipeline.channel_count
    sizes = _sizes(image)
    fitting: list[Layout] = []
    if sizes[1] == count:
        fitting.append("NCHW")
    if sizes[3] == count:
        fitting.append("NHWC")
    if pipeline.layout is not None:
        axis = 1 if pipeline.layout == "NCHW" else 3
        if sizes[axis] in (count, None):
            return pipeline.layout
        fitting = []
    if len(fitting) == 1:
        return fitting[0]
    if len(fitting) == 2:
        raise ExportError(
            f"{path}: the input {_shape(image)} may be NCHW or NHWC; say which with --layout"
        )
    raise ExportError(
        f"{path}: the input {_shape(image)} has no axis of {count} channels where "
        f"{pipeline.layout or 'NCHW or NHWC'} has it; give --channels grey, or --layout"
    )


def _size(path: Path, image: ir.Value, layout: Layout, pipeline: Pipeline) -> tuple[int, int]:
    sizes = _sizes(image)
    own = (sizes[2], sizes[3]) if layout == "NCHW" else (sizes[1], sizes[2])
    wanted = pipeline.size
    if wanted is None:
        if None in own:
            raise ExportError(
                f"{path}: the input {_shape(image)} has a free height or width; give the size that "
                "images are to have, --size 224 or --size 224,320"
            )
        return own  # type: ignore[return-value]
    for found, asked in zip(own, wanted, strict=True):
        if found not in (None, asked):
            raise ExportError(
                f"{path}: --size {wanted[0]},{wanted[1]}, but the network takes {own[0]} by "
                f"{own[1]} pixels; leave --size out, or export it for that size"
            )
    return wanted


def _output(path: Path, model: ir.Model, name: str | None) -> ir.Value:
    outputs = list(model.graph.outputs)
    if name is not None:
        outputs = [value for value in outputs if value.name == name]
        if not outputs:
            known = ", ".join(str(value.name) for value in model.graph.outputs)
            raise ExportError(f"{path} has no output {name!r}; it has {known}")
    if len(outputs) != 1:
        names = ", ".join(f"{value.name} {_shape(value)}" for value in outputs)
        raise ExportError(
            f"{path} has {len(outputs)} outputs ({names}); a classifier has one, its scores: name "
            "it with --output-name, where this is no detector"
        )
    return outputs[0]


def _sizes(value: ir.Value) -> list[int | None]:
    assert value.shape is not None, "checked before"
    return [size if isinstance(size, int) else None for size in value.shape.dims]


def _shape(value: ir.Value) -> str:
    """Return a value's shape as people write it."""
    if value.shape is None:
        return "(unknown)"
    names = [str(size) if isinstance(size, int) else str(size.value or "?") for size in value.shape]
    return f"({', '.join(names)})"


def check_scores(path: Path, shape: tuple[int, ...], batch: int, classes: int) -> None:
    """Refuse scores, as they come out for a batch, that are not one number for each class.

    Raises:
        ExportError: they are not.
    """
    if len(shape) < 2 or shape[0] != batch or math.prod(shape[2:]) != 1:
        raise ExportError(
            f"{path}: {batch} images give scores {shape}, and a classifier gives (N, classes); a "
            "detector, or a network for text or segments, cannot be packed"
        )
    if shape[1] != classes:
        raise ExportError(
            f"{path} scores {shape[1]} classes, and there are {classes} labels; give --labels a "
            "file that names each of them, in the network's order"
        )
