"""A whole measurement: warm answers first, then one step after the other."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from http import HTTPStatus

from training.client.connection import Connection, connect
from training.client.errors import RequestError
from training.client.images import ImageFile
from training.client.load.arrivals import Arrivals, arrival_times
from training.client.load.generator import MAX_OPEN, Load, PreparedRequest
from training.client.load.request_pool import ask_alone, prepare_requests, shuffled
from training.client.load.step_report import Step, StepReport, summarize
from training.client.requests import InferFormat, PayloadFormat
from training.client.retries import Log


@dataclass(frozen=True)
class Bench:
    """What every step has in common."""

    url: str
    form: PayloadFormat
    images: Sequence[ImageFile]
    duration_s: float
    warmup_s: float = 1.0
    timeout_s: float = 30.0
    arrivals: Arrivals = "poisson"
    seed: int = 0
    verify: bool = False
    max_open: int = MAX_OPEN


@dataclass(frozen=True)
class BenchReport:
    """The steps' figures; `look_alikes` images could be swapped unnoticed, None if unchecked."""

    steps: tuple[StepReport, ...]
    look_alikes: int | None

    @property
    def mismatches(self) -> int:
        """Wrong answers in all steps."""
        return sum(step.mismatches or 0 for step in self.steps)


async def run_bench(bench: Bench, steps: Sequence[Step], log: Log) -> BenchReport:
    """Measure the steps in their order, each over connections of its own.

    Raises:
        RequestError: the server refuses the images, or a step cannot be made.
        ServerError: it cannot be reached, or its answers cannot be read.
    """
    asked = bench.images if bench.verify else bench.images[:1]
    async with connect(bench.url, bench.timeout_s) as connection:
        bench = replace(bench, form=await _sized(connection, bench.form))
        references = await ask_alone(connection, bench.form, asked, log)
    reports = []
    for number, step in enumerate(steps, 1):
        log(f"step {number} of {len(steps)}: {describe(step)}, {_seconds(bench)}")
        requests = prepare_requests(
            bench.form, bench.images, step.images_per_request, references if bench.verify else None
        )
        async with connect(bench.url, bench.timeout_s) as connection:
            reports.append(await run_step(connection, bench, step, shuffled(requests, bench.seed)))
    return BenchReport(tuple(reports), references.look_alikes if bench.verify else None)


async def _sized(connection: Connection, form: PayloadFormat) -> PayloadFormat:
    """Return a format that sends pixels with the size that the model's metadata states."""
    if not isinstance(form, InferFormat) or not form.pixels:
        return form
    reply = await connection.get(form.metadata_target)
    if reply.status != HTTPStatus.OK:
        raise RequestError(reply.detail)
    return form.sized(reply.body)


async def run_step(
    connection: Connection, bench: Bench, step: Step, requests: Iterator[PreparedRequest]
) -> StepReport:
    """Measure one step."""
    load = Load(connection, requests, bench.duration_s, bench.warmup_s, bench.max_open)
    if step.rate is not None:
        recording = await load.open_loop(arrival_times(bench.arrivals, step.rate, bench.seed))
    else:
        assert step.connections is not None, "a step has a rate or connections"
        recording = await load.closed_loop(step.connections)
    return summarize(replace(step, verified=bench.verify), recording)


def describe(step: Step) -> str:
    """Return a step in words."""
    if step.rate is not None:
        return f"open loop, {step.rate:,g} requests/s"
    return f"closed loop, {step.connections:,} connection{'' if step.connections == 1 else 's'}"


def _seconds(bench: Bench) -> str:
    return f"{bench.warmup_s:g} s to warm up and {bench.duration_s:g} s measured"
