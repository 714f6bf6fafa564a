"""`foldnorm export`: a trained run becomes an artifact."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import torch
import typer

from training.data.dataset import open_dataset
from training.recipes import recipe_from_dict
from training.release.manifest import images_of
from training.release.release import release
from training.trainer.run.checkpoint import load_checkpoint
from training.trainer.run.run_directory import RunDirectory


def export(
    run_dir: Annotated[Path, typer.Argument(help="The run's folder, as `train` made it.")],
    data_dir: Annotated[
        Path, typer.Option(help="Folder that the run was trained on: CIFAR-10, or own images.")
    ],
    version: Annotated[str, typer.Option(help="Version of the artifact.")] = "1.0.0",
    output: Annotated[
        Path, typer.Option("--output", "-o", help="Folder that will hold NAME-VERSION.")
    ] = Path("models/artifacts"),
    best: Annotated[
        bool, typer.Option("--best", help="The epoch that was best on held-out images.")
    ] = False,
    threads: Annotated[int | None, typer.Option(min=1, help="CPU threads; default all.")] = None,
) -> None:
    """Fold RUN_DIR's network, prove the fold, measure it and write the artifact.

    Run times are measured on one thread: leave the machine idle meanwhile.
    """
    if threads:
        torch.set_num_threads(threads)
    run = RunDirectory(run_dir)
    checkpoint = run.load_best() if best else load_checkpoint(run.checkpoint_file)
    recipe = recipe_from_dict(checkpoint.recipe, "the checkpoint's recipe")
    dataset = open_dataset(data_dir, recipe.data)
    artifact = release(checkpoint, version, dataset.load_test(images_of(checkpoint)), output)
    test = artifact.manifest.measured.test
    typer.echo(f"wrote {artifact.path}: {test.accuracy:.2%} of {test.images:,} test images")
