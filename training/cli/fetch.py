"""`foldnorm fetch`: bring CIFAR-10."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)

from training.data import FOLDER
from training.download import CIFAR10, Archive, fetch_dataset, is_complete, unpack


def fetch(
    data_dir: Annotated[Path, typer.Option(help="Folder that will hold cifar-10-batches-py/.")],
    archive: Annotated[
        Path | None, typer.Option(help="An archive at hand, instead of downloading it.")
    ] = None,
    url: Annotated[str, typer.Option(help="Where to download it.")] = CIFAR10.url,
) -> None:
    """Download and verify CIFAR-10; a download that breaks off begins again."""
    for present in (data_dir / FOLDER, data_dir):
        if is_complete(present, CIFAR10):
            typer.echo(f"{present} is complete, every checksum is the published one")
            return
    if archive is None:
        try:
            _download(data_dir, replace(CIFAR10, url=url))
        except KeyboardInterrupt:
            typer.echo("stopped; what has come is kept, the same command goes on from it", err=True)
            raise typer.Exit(130) from None
    else:
        unpack(archive, data_dir, CIFAR10)
    typer.echo(f"{data_dir / FOLDER} is complete")


def _download(data_dir: Path, archive: Archive) -> None:
    with Progress(
        TextColumn("CIFAR-10"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    ) as bar:
        task = bar.add_task("", total=archive.size_bytes)
        fetch_dataset(data_dir, lambda done: bar.update(task, completed=done), archive)
