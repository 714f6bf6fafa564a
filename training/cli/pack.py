"""`foldnorm pack`: anybody's image classifier becomes an artifact that is served."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, cast, get_args

import typer

from models.bundle import Bundle
from training.errors import ExportError
from training.release.packing.classifier import Scores
from training.release.packing.pack import Packing
from training.release.packing.pack import pack as pack_file
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


def pack(
    model: Annotated[Path, typer.Argument(help="An ONNX file of an image classifier.")],
    name: Annotated[str, typer.Option(help="Of the artifact, as it is served.")],
    labels: Annotated[
        Path, typer.Option(help="The classes: a line each, or JSON, as config.json's id2label.")
    ],
    output: Annotated[
        Path, typer.Option("--output", "-o", help="Folder that will hold NAME-VERSION.")
    ] = Path("artifacts"),
    version: Annotated[str, typer.Option(help="Of the artifact.")] = "1.0.0",
    title: Annotated[str | None, typer.Option(help="One line for people.")] = None,
    licence: Annotated[str | None, typer.Option(help="Of the weights.")] = None,
    preprocessor: Annotated[
        Path | None, typer.Option(help="A transformers preprocessor_config.json.")
    ] = None,
    size: Annotated[
        str | None, typer.Option(help="Of the network's images: 224, or height,width.")
    ] = None,
    resize: Annotated[
        str | None,
        typer.Option(help="Before the crop: 256 is the shorter side, height,width exactly that."),
    ] = None,
    interpolation: Annotated[str | None, typer.Option(help="Such as bilinear or bicubic.")] = None,
    channels: Annotated[str | None, typer.Option(help="RGB, BGR or grey.")] = None,
    mean: Annotated[
        str | None, typer.Option(help="Taken from pixels, 0 to 255: one number or three.")
    ] = None,
    std: Annotated[str | None, typer.Option(help="That pixels are divided by then.")] = None,
    layout: Annotated[str | None, typer.Option(help="NCHW or NHWC, if unclear.")] = None,
    scores: Annotated[
        str | None, typer.Option(help="logits or probabilities; seen from the last node.")
    ] = None,
    output_name: Annotated[
        str | None, typer.Option(help="The scores, where the file has several outputs.")
    ] = None,
    rounds: Annotated[
        int | None, typer.Option(min=1, help="Of the run times; default: about a minute.")
    ] = None,
) -> None:
    """Make an artifact of MODEL: preprocessing in the graph, batch norms folded, all of it proved.

    Exit code 2 for bad input, 3 when a proof fails: nothing is written then.
    """
    base = Pipeline() if preprocessor is None else from_preprocessor(preprocessor)
    changed: dict[str, object] = {
        "size": _pair(sizes_of("--size", size)) if size else None,
        "resize_to": sizes_of("--resize", resize) if resize else None,
        "interpolation": interpolation_of(interpolation) if interpolation else None,
        "channels": _one_of("--channels", channels, ChannelOrder),
        "mean": numbers_of("--mean", mean) if mean else None,
        "deviation": numbers_of("--std", std) if std else None,
        "layout": _one_of("--layout", layout, Layout),
    }
    given: dict[str, Any] = {key: value for key, value in changed.items() if value is not None}
    if resize:
        given["resize"] = None  # the rule is that of the numbers
    pipeline = replace(base, **given)
    asked = Packing(
        name=name,
        version=version,
        labels=read_labels(labels),
        pipeline=pipeline,
        scores=cast("Scores | None", _one_of("--scores", scores, Scores)),
        output=output_name,
        title=title,
        licence=licence,
    )
    _print(pack_file(model, asked, output, rounds))


def _pair(sizes: tuple[int, ...]) -> tuple[int, int]:
    return sizes[0], sizes[-1]


def _one_of(option: str, value: str | None, choices: object) -> str | None:
    known = get_args(choices)
    if value is not None and value not in known:
        raise ExportError(f"{option} {value}: take one of {', '.join(known)}")
    return value


def _print(artifact: Bundle) -> None:
    manifest = artifact.manifest
    assert manifest.packed is not None, "it was just packed"
    served = manifest.graphs[artifact.served_variant]
    typer.echo(f"pixels  {manifest.packed.pixels}")
    typer.echo(f"scores  {manifest.packed.scores}, {len(manifest.labels):,} classes")
    if manifest.fold:
        layers = manifest.fold.layers
        folded = sum(layer.into is not None for layer in layers)
        typer.echo(f"folded  {folded} of {len(layers)} batch norms; the proof holds")
    else:
        left = served.nodes.get("BatchNormalization", 0)
        typer.echo(f"folded  nothing: {left} batch norms in the graph, none that can go")
    typer.echo(
        f"wrote {artifact.path}; serve it: foldnorm-serve --artifacts {artifact.path.parent}"
    )
