"""`foldnorm pack`: anybody's image classifier becomes an artifact that is served."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from models.bundle import Bundle
from models.metrics import TestMetrics
from training.cli.commands import missing_package
from training.cli.config_file import take_options
from training.folding.engine.report_row import CONSTANT
from training.release.packing.asking import packing_of
from training.release.packing.classifier import read_classifier
from training.release.packing.explain import steps_of, write_before_and_after
from training.release.packing.pack import Packing, image_spec
from training.release.packing.pack import pack as pack_file
from training.release.packing.pipeline import read_labels


def pack(
    name: Annotated[str, typer.Option(help="Of the artifact, as it is served.")],
    labels: Annotated[
        Path, typer.Option(help="The classes: a line each, or JSON, as config.json's id2label.")
    ],
    model: Annotated[
        Path | None, typer.Argument(help="An ONNX file of an image classifier.")
    ] = None,
    timm: Annotated[
        str | None, typer.Option(metavar="NAME", help="In place of MODEL: a network of timm.")
    ] = None,
    checkpoint: Annotated[
        Path | None, typer.Option(help="Its weights; without, timm downloads its own.")
    ] = None,
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
    data: Annotated[
        Path | None,
        typer.Option(help="Measure it on labelled images: a folder a class, or a CSV: path,label."),
    ] = None,
    explain: Annotated[
        Path | None,
        typer.Option(metavar="PICTURE", help="Show what becomes of it, and pack nothing."),
    ] = None,
    _config: Annotated[
        Path | None,
        typer.Option(
            "--config", callback=take_options, is_eager=True, help="A TOML file of these options."
        ),
    ] = None,
    rounds: Annotated[
        int | None, typer.Option(min=1, help="Of the run times; default: about a minute.")
    ] = None,
) -> None:
    """Make an artifact of MODEL: preprocessing in the graph, batch norms folded, all of it proved.

    What --timm says of pictures need not be given. Exit code 2 for bad input, 3 when a proof fails:
    nothing is written then.
    """
    pixels = {
        "size": size,
        "resize": resize,
        "interpolation": interpolation,
        "channels": channels,
        "mean": mean,
        "std": std,
        "layout": layout,
    }
    said = {
        "scores": scores,
        "output": output_name,
        "title": title,
        "licence": licence,
        "data": data,
    }
    if (model is None) == (timm is None):
        raise typer.BadParameter("give either MODEL, an ONNX file, or --timm NAME")
    if model is not None:
        asked = packing_of(name, version, labels, preprocessor, pixels, said)
        if explain is not None:
            _explain(model, asked, explain)
        else:
            _print(pack_file(model, asked, output, rounds))
        return
    try:
        from training.release.packing.timm_network import load_timm
        from training.release.packing.torch_network import exported, pack_network, pipeline_of
    except ModuleNotFoundError as error:
        raise missing_package("pack", error, "train") from error
    network, example = load_timm(str(timm), checkpoint, len(read_labels(labels)))
    base = pipeline_of(network)
    asked = packing_of(name, version, labels, preprocessor, pixels, said, base=base)
    if explain is None:
        _print(pack_network(network, example, asked, output, rounds))
        return
    with exported(network, example) as path:
        _explain(path, asked, explain)


def _explain(model: Path, asked: Packing, picture: Path) -> None:
    classifier = read_classifier(model, asked.pipeline, asked.output)
    target = Path(f"{picture.stem}.{asked.name}.png")
    write_before_and_after(picture, image_spec(classifier, asked.pipeline), target)
    for step in steps_of(classifier, asked):
        typer.echo(step)
    typer.echo(f"wrote {target}: {picture.name}, and what the network takes of it")


def _in_words(test: TestMetrics) -> str:
    """Return a measurement in a line."""
    low, high = test.accuracy_interval_95
    top5 = f", {test.top5_accuracy:.2%} within five" if test.top5_accuracy is not None else ""
    return (
        f"{test.accuracy:.2%} of {test.images:,} images ({low:.2%} to {high:.2%}){top5}; "
        f"calibration error {test.expected_calibration_error:.4f}"
    )


def _print(artifact: Bundle) -> None:
    manifest = artifact.manifest
    assert manifest.packed is not None, "it was just packed"
    served = manifest.graphs[artifact.served_variant]
    typer.echo(f"pixels  {manifest.packed.pixels}")
    typer.echo(f"scores  {manifest.packed.scores}, {len(manifest.labels):,} classes")
    if manifest.fold:
        layers = manifest.fold.layers
        norms = [layer for layer in layers if not layer.norm.endswith(CONSTANT)]
        gone = sum(layer.into is not None for layer in norms)
        others = sum(layer.into is not None for layer in layers) - gone
        constants = f" and {others} constant{'s' * (others > 1)}" if others else ""
        typer.echo(f"folded  {gone} of {len(norms)} batch norms{constants}; the proof holds")
    else:
        left = served.nodes.get("BatchNormalization", 0)
        typer.echo(f"folded  nothing: {left} batch norms in the graph, none that can go")
    if manifest.metrics:
        typer.echo(f"right   {_in_words(manifest.metrics.test)}")
    typer.echo(
        f"wrote {artifact.path}; serve it: foldnorm-serve --artifacts {artifact.path.parent}"
    )
