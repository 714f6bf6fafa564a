"""`foldnorm bench`: how fast is a server, measured so that it cannot flatter itself?"""

from __future__ import annotations

import asyncio
import json
import re
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from training.client.connection import DEFAULT_URL
from training.client.errors import MismatchError, RequestError
from training.client.images import MAX_IMAGES, ImageFile, expand, read_images
from training.client.load.arrivals import Arrivals
from training.client.load.event_loop import new_event_loop
from training.client.load.generator import MAX_OPEN
from training.client.load.machine import describe_generator
from training.client.load.open_files import allow_open_files
from training.client.load.run import Bench, BenchReport, run_bench
from training.client.load.step_report import Step
from training.client.requests import InferFormat, PayloadFormat, PredictFormat
from training.client.tables import load_table


def bench(
    url: Annotated[str, typer.Option(help="The server's address.")] = DEFAULT_URL,
    image: Annotated[str | None, typer.Option(help="Send this file over and over.")] = None,
    images: Annotated[str | None, typer.Option(help="Send the images of this folder.")] = None,
    model: Annotated[str | None, typer.Option(help="NAME or NAME@VERSION; v2 needs one.")] = None,
    batch: Annotated[int, typer.Option(min=1, max=MAX_IMAGES, help="Images a request.")] = 1,
    protocol: Annotated[str, typer.Option(help="v1 (/v1/predict) or v2 (/v2/…/infer).")] = "v1",
    pixels: Annotated[
        bool,
        typer.Option("--pixels", help="v2: send pixels, of images of the model's size."),
    ] = False,
    rate: Annotated[
        str | None, typer.Option(help="Open loop: requests/s, one step for each: 100,200,400.")
    ] = None,
    connections: Annotated[
        str | None, typer.Option(help="Closed loop: connections, one step for each: 1,16,64.")
    ] = None,
    duration: Annotated[float, typer.Option(min=0.1, help="Seconds measured, each step.")] = 10.0,
    warmup: Annotated[float, typer.Option(min=0.0, help="Seconds before, not measured.")] = 1.0,
    deadline_ms: Annotated[
        float | None,
        typer.Option(min=1.0, help="Later is no goodput; the server is told."),
    ] = None,
    arrivals: Annotated[str, typer.Option(help="poisson or constant.")] = "poisson",
    seed: Annotated[int, typer.Option(help="Of the arrivals and of the images' order.")] = 0,
    timeout: Annotated[float, typer.Option(min=0.1, help="Seconds to wait for an answer.")] = 30.0,
    verify: Annotated[
        bool,
        typer.Option("--verify", help="Hold each answer to the image's own."),
    ] = False,
    max_open: Annotated[
        int, typer.Option(min=1, help="Unanswered requests at once in an open loop.")
    ] = MAX_OPEN,
    json_file: Annotated[
        str | None, typer.Option("--json", help="Write the figures there, - for standard output.")
    ] = None,
) -> None:
    """Send a load and report rates, latencies and refusals.

    --rate is an open loop: requests go out on schedule whatever the answers do, and latency counts
    from the schedule. --connections is a closed loop. Exit code 3 if --verify finds a wrong answer.
    """
    steps = _steps(rate, connections, batch, deadline_ms)
    allow_open_files(max([max_open if rate else 0, *(step.connections or 0 for step in steps)]))
    _check_place(json_file)
    plan = Bench(
        url=url,
        form=_form(protocol, model, deadline_ms, pixels=pixels),
        images=_images(image, images),
        duration_s=duration,
        warmup_s=warmup,
        timeout_s=timeout,
        arrivals=_arrivals(arrivals),
        seed=seed,
        verify=verify,
        max_open=max_open,
    )
    environment = {"arguments": sys.argv[1:], **describe_generator()}
    with asyncio.Runner(loop_factory=new_event_loop) as runner:
        report = runner.run(run_bench(plan, steps, _log))
    _publish(report, environment, json_file, deadline_ms)
    if report.mismatches:
        raise MismatchError(
            f"{report.mismatches:,} answers were not those of their images; 0 is right: the server "
            "mixes requests up, or its answers depend on their batch-mates"
        )


def _steps(
    rate: str | None, connections: str | None, batch: int, deadline_ms: float | None
) -> list[Step]:
    if rate is not None and connections is None:
        return [Step(number, None, batch, deadline_ms) for number in _numbers(rate, "--rate")]
    if connections is not None and rate is None:
        counts = _numbers(connections, "--connections")
        return [Step(None, int(count), batch, deadline_ms) for count in counts]
    raise RequestError("give either --rate (open loop) or --connections (closed loop)")


def _numbers(text: str, option: str) -> list[float]:
    """Return the numbers of a comma-separated list; connections are whole ones."""
    form = r"\d+" if option == "--connections" else r"\d+(\.\d+)?|\.\d+"
    parts = [part.strip() for part in text.split(",")]
    if not all(re.fullmatch(form, part, re.ASCII) and float(part) > 0 for part in parts):
        raise RequestError(
            f"{option} is {text!r}; give numbers above 0 with commas between them, as in 100,200"
        )
    return [float(part) for part in parts]


def _form(
    protocol: str, model: str | None, deadline_ms: float | None, *, pixels: bool
) -> PayloadFormat:
    if protocol == "v1":
        if pixels:
            raise RequestError("--pixels goes with --protocol v2; v1 takes image files")
        return PredictFormat(model, deadline_ms=deadline_ms)
    if protocol != "v2":
        raise RequestError(f"no protocol {protocol!r}; take v1 or v2")
    if model is None:
        raise RequestError("protocol v2 has no default model; name one with --model")
    return InferFormat(model, pixels, deadline_ms)


def _arrivals(kind: str) -> Arrivals:
    if kind == "poisson":
        return "poisson"
    if kind == "constant":
        return "constant"
    raise RequestError(f"no arrivals {kind!r}; take poisson or constant")


def _images(image: str | None, folder: str | None) -> list[ImageFile]:
    if (image is None) == (folder is None):
        raise RequestError("give either --image FILE or --images FOLDER")
    return list(read_images(expand([image or folder or ""])))


def _check_place(json_file: str | None) -> None:
    """Refuse before the measurement what could not be written after it."""
    if json_file not in (None, "-") and not Path(json_file).parent.is_dir():
        raise RequestError(
            f"cannot write {json_file}: there is no folder {Path(json_file).parent}; make it, or "
            "name another place"
        )


def _publish(
    report: BenchReport,
    environment: dict[str, Any],
    json_file: str | None,
    deadline_ms: float | None,
) -> None:
    """Print the table, or the JSON in its place, and say what the figures cannot be trusted for."""
    table = {
        "environment": environment,
        "steps": [{**asdict(step), "warnings": step.warnings} for step in report.steps],
        "look_alikes": report.look_alikes,
    }
    if json_file == "-":
        typer.echo(json.dumps(table))
    else:
        Console().print(load_table(report.steps, deadline_ms))
    if json_file not in (None, "-"):
        Path(json_file).write_text(json.dumps(table, indent=1) + "\n", encoding="utf-8")
    for number, step in enumerate(report.steps, 1):
        for warning in step.warnings:
            _log(f"warning: step {number}: {warning}")
    if report.look_alikes:
        _log(
            f"warning: {report.look_alikes:,} images are answered like another one; a swap among "
            "them would not be seen"
        )


def _log(line: str) -> None:
    typer.echo(f"foldnorm: {line}", err=True)
