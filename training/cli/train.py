"""`foldnorm train`: train a recipe, or go on with a run that was stopped."""

from __future__ import annotations

from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Annotated

import torch
import typer

from training.cli.commands import missing_package
from training.recipes import load_recipe, override
from training.trainer.device import (
    check_compiler,
    choose_device,
    choose_precision,
    keep_freed_memory,
)
from training.trainer.distributed import Workers
from training.trainer.run.initial_weights import read_initial_weights
from training.trainer.session.console import runs_report
from training.trainer.session.session import TrainingSession


def train(
    recipe_name: Annotated[
        str, typer.Argument(metavar="RECIPE", help="A recipe that ships, or a .toml file.")
    ],
    data_dir: Annotated[
        Path,
        typer.Option(help="Folder that holds cifar-10-batches-py/, or own images by class."),
    ],
    assignments: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Instead of the recipe's; repeatable."),
    ] = None,
    run_dir: Annotated[
        Path | None, typer.Option(help="Where the run lives; by default runs/RECIPE-seedSEED.")
    ] = None,
    epochs: Annotated[int | None, typer.Option(min=1, help="Instead of the recipe's.")] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="Instead of the recipe's.")] = None,
    runs: Annotated[
        int,
        typer.Option(
            min=1, max=10_000, help="Train that many seeds, one after the other, from --seed on."
        ),
    ] = 1,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1, …")] = "auto",
    precision: Annotated[
        str | None, typer.Option(help="float32, bfloat16 or auto, instead of the recipe's.")
    ] = None,
    compiled: Annotated[
        bool, typer.Option("--compile", help="Generate kernels first: for many runs on a GPU.")
    ] = False,
    threads: Annotated[
        int | None, typer.Option(min=1, max=1_024, help="CPU threads; default all.")
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the checkpoint.")] = False,
    initial: Annotated[
        Path | None,
        typer.Option(
            "--initialize-from",
            help="Begin with the weights of a run's folder, a checkpoint, or an artifact.",
        ),
    ] = None,
    tensorboard: Annotated[
        bool, typer.Option("--tensorboard", help="Also write TensorBoard events.")
    ] = False,
) -> None:
    """Train RECIPE, measuring the test set after every epoch.

    Under torchrun, all processes train one network together.
    """
    recipe = override(load_recipe(recipe_name), assignments or [])
    recipe = replace(recipe, epochs=epochs or recipe.epochs)
    first = recipe.seed if seed is None else seed
    for end in (first, first + runs - 1):
        replace(recipe, seed=end)  # refuses what no recipe may say
    if runs > 1 and run_dir:
        raise typer.BadParameter("--run-dir holds one run; with --runs each has its own folder")
    if threads:
        torch.set_num_threads(threads)
    if tensorboard:
        try:
            import_module("torch.utils.tensorboard")
        except ModuleNotFoundError as error:
            raise missing_package("train --tensorboard", error, "train") from error
    keep_freed_memory()
    with Workers.from_environment() as workers:
        target = workers.local_device(choose_device(device))
        if compiled:
            check_compiler(target)
        session = TrainingSession(
            recipe,
            target,
            choose_precision(precision, recipe, target),
            workers,
            compiled=compiled,
            resume=resume,
            tensorboard=tensorboard,
            initial=read_initial_weights(initial) if initial else None,
        )
        results = session.train_seeds(range(first, first + runs), data_dir, run_dir)
    if workers.leads and runs > 1 and len(results) == runs:
        typer.echo(runs_report(results))
