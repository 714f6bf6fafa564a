"""`foldnorm predict`: what is in these images?"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from typing import Annotated

import typer
from rich.console import Console

from training.client.classify import Classified, Classifier
from training.client.connection import DEFAULT_URL, connect
from training.client.errors import RequestError
from training.client.images import expand, read_images
from training.client.requests import PredictFormat
from training.client.tables import predictions_table


def predict(
    images: Annotated[
        list[str], typer.Argument(metavar="IMAGE…", help="Files, folders, or - for standard input.")
    ],
    url: Annotated[str, typer.Option(help="The server's address.")] = DEFAULT_URL,
    model: Annotated[str | None, typer.Option(help="NAME or NAME@VERSION.")] = None,
    top_k: Annotated[int, typer.Option(min=1, help="Classes for each image.")] = 5,
    retries: Annotated[int, typer.Option(min=0, help="Times to ask a busy server again.")] = 3,
    timeout: Annotated[float, typer.Option(min=0.1, help="Seconds to wait for an answer.")] = 30.0,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON line a file.")] = False,
) -> None:
    """Classify image files with a running server.

    Files that the server refuses are named and the others classified. Exit code 2 for what you can
    mend, 1 for trouble of the server.
    """
    names = expand(images)
    request = _Request(PredictFormat(model, top_k), retries, as_json=as_json)
    rows = asyncio.run(request.send(names, url, timeout))
    if not as_json and any(row.prediction for row in rows):
        Console().print(predictions_table(rows))
    refused = [row for row in rows if row.refusal is not None]
    for row in refused:
        _log(f"{row.file}: {row.refusal}")
    if refused:
        raise RequestError(
            f"{len(refused):,} of {len(rows):,} files were refused; mend them or leave them out"
        )


class _Request:
    """What is asked of the server; JSON lines are printed as answers come."""

    def __init__(self, form: PredictFormat, retries: int, *, as_json: bool) -> None:
        self.form = form
        self.retries = retries
        self.as_json = as_json

    async def send(self, names: Sequence[str], url: str, timeout_s: float) -> list[Classified]:
        """Return what became of each file."""
        rows = []
        async with connect(url, timeout_s) as connection:
            classifier = Classifier(connection, self.form, self.retries, _log)
            async for row in classifier.classify(read_images(names)):
                rows.append(row)
                if self.as_json:
                    typer.echo(json.dumps(row.to_dict(), ensure_ascii=False))
        return rows


def _log(line: str) -> None:
    typer.echo(f"foldnorm: {line}", err=True)
