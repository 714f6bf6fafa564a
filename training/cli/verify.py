"""`foldnorm verify`: prove that two models, or the graphs of an artifact, are the same network."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from models.bundle import Bundle, load_bundle
from training.cli.commands import missing_package, sizes_by_name
from training.errors import UntestedError, VerificationError
from training.folding.fold_report import verdict_report, verdict_table
from training.folding.onnx_frontend import read_model
from training.folding.proof import Verdict, compare_models
from training.release.packing.proof import check_packed

SCHEMA = 1


def verify(
    model: Annotated[Path, typer.Argument(help="An artifact's folder, or an ONNX file.")],
    other: Annotated[
        Path | None, typer.Argument(help="An ONNX file that must be the same network.")
    ] = None,
    data_dir: Annotated[
        Path | None,
        typer.Option(help="For an artifact: the folder that it was trained on."),
    ] = None,
    threads: Annotated[
        int | None, typer.Option(min=1, help="For an artifact: CPU threads; default all.")
    ] = None,
    data: Annotated[
        Path | None, typer.Option(help="For two files: own inputs, .npz by input name, or .npy.")
    ] = None,
    seed: Annotated[int, typer.Option(help="For two files: of the inputs.")] = 0,
    size: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=VALUE", help="For two files: a free size; INPUT.AXIS names any."
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the verdict as JSON.")] = False,
) -> None:
    """Prove two ONNX files the same but for rounding, or an artifact's graphs on the test set.

    Of an artifact: torch = unfolded = folded; an int8 graph is checked to be their rounding, and
    measured again. One that was packed is proved on seeded inputs, without --data-dir.

    Exit code 0 if the proof holds, 3 if it fails, 4 if nothing could be tested, 2 for bad input.
    """
    if other is None:
        if data is not None or size:
            raise typer.BadParameter(
                "--data and --size are for two ONNX files; an artifact needs --data-dir"
            )
        _verify_artifact(model, data_dir, threads, as_json=as_json)
    elif data_dir is not None or threads is not None:
        raise typer.BadParameter("--data-dir and --threads are for an artifact, not for two files")
    else:
        sizes = sizes_by_name(size or ())
        verdict = compare_models(
            read_model(model), read_model(other), data=data, seed=seed, sizes=sizes
        )
        _report_files(model, other, verdict, as_json=as_json)


def _verify_artifact(
    artifact: Path, data_dir: Path | None, threads: int | None, *, as_json: bool
) -> None:
    if artifact.suffix == ".onnx" and not artifact.is_dir():
        raise typer.BadParameter(f"{artifact} is one model; name a second one to compare it with")
    released = load_bundle(artifact)
    if released.manifest.packed is not None:
        _verify_packed(released, data_dir, as_json=as_json)
        return
    if data_dir is None:
        raise typer.BadParameter("an artifact is proved on the test set: Missing option --data-dir")
    try:
        import torch

        from training.data.dataset import tested_images_of
        from training.release.artifact_check import check_artifact
        from training.release.reports import verdict_table as artifact_tables
    except ModuleNotFoundError as error:
        raise missing_package("verify", error, "train") from error
    if threads:
        torch.set_num_threads(threads)
    verdict = check_artifact(released, tested_images_of(released.manifest, data_dir))
    if as_json:
        document = {
            **asdict(verdict.verification),
            "int8": verdict.int8 and asdict(verdict.int8),
            "holds": verdict.holds,
        }
        typer.echo(json.dumps(document, indent=1))
    else:
        console = Console()
        if layers := artifact_tables.layer_table(released):
            console.print(layers)
        console.print(artifact_tables.artifact_table(released, verdict))
        console.print(f"verdict: {'the proof holds' if verdict.holds else 'THE PROOF FAILS'}")
    if not verdict.holds:
        raise VerificationError(f"{artifact}: the proof fails; do not serve this artifact")


def _verify_packed(artifact: Bundle, data_dir: Path | None, *, as_json: bool) -> None:
    if data_dir is not None:
        raise typer.BadParameter(
            f"{artifact.name} was packed, and is proved on seeded inputs: leave --data-dir out"
        )
    graphs = artifact.manifest.graphs
    one, other = graphs.get("unfolded"), graphs[artifact.served_variant]
    files = (artifact.path / (one or other).file, artifact.path / other.file)
    _report_files(*files, check_packed(artifact), as_json=as_json)


def _report_files(model: Path, other: Path, verdict: Verdict, *, as_json: bool) -> None:
    if as_json:
        document = {
            "schema": SCHEMA,
            "model": str(model),
            "other": str(other),
            "proof": verdict_report(verdict),
        }
        typer.echo(json.dumps(document, indent=1))
    else:
        Console().print(verdict_table(verdict, "other"))
    if verdict.outcome == "untested":
        raise UntestedError(
            f"whether {model} and {other} are the same network could not be tested: "
            f"{verdict.untested}"
        )
    if not verdict.holds:
        fault = f": {verdict.faults[0]}" if verdict.faults else ""
        raise VerificationError(f"{model} and {other} are not the same network{fault}")
