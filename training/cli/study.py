"""`foldnorm study`: list, plan, run and report studies."""

from __future__ import annotations

import signal
import time
from dataclasses import replace
from datetime import timedelta
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from training.cli.commands import missing_package
from training.data.cifar10 import find_folder
from training.errors import StudyError
from training.studies.conduct import StudyFolder, count_states, run_study, work
from training.studies.design import available_studies, load_study
from training.studies.execution import Executor, LocalExecutor
from training.studies.execution.on_ray import RayExecutor
from training.studies.plan import PlannedRun, plan_study, registered_design
from training.studies.reports.analysis import Analysis, analyse
from training.studies.reports.claims_page import claims_page
from training.studies.reports.figures import draw, save
from training.studies.reports.registration import Registration, registration
from training.studies.reports.study_page import MAIN_PRESET, study_page
from training.studies.runs import RunFolders
from training.trainer.device import choose_device, precision_warning

study = typer.Typer(
    name="study",
    help="Answer a question by many runs: list, plan, run and report studies.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

Name = Annotated[str, typer.Argument(metavar="STUDY", help="One that ships, or a .toml file.")]
PresetName = Annotated[str, typer.Option("--preset", help="How large; see study list.")]
Rows = Annotated[
    Path | None,
    typer.Option(
        "--output",
        "-o",
        help="Folder of the studies' tables. [default: docs/studies for the presets cpu and gpu "
        "of those that ship, in their own precision, runs/studies for all else]",
        show_default=False,
    ),
]
RunsDir = Annotated[Path, typer.Option(help="Folder of the run folders, of all studies.")]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1, …")]
Precision = Annotated[
    str | None,
    typer.Option("--precision", help="float32 or bfloat16, instead of the study's."),
]

STUDIES, OWN_STUDIES, RUNS = Path("docs/studies"), Path("runs/studies"), Path("runs")
PUBLISHED = (MAIN_PRESET, "gpu")  # presets whose results ship


@study.command(name="list")
def list_studies() -> None:
    """List the studies that ship, their questions and their sizes."""
    table = Table("study", "question", "cells", "presets: epochs x seeds")
    for name in available_studies():
        design = load_study(name)
        presets = "; ".join(
            f"{preset}: {size.epochs} x {len(size.seeds)}"
            for preset, size in design.presets.items()
        )
        table.add_row(name, design.question, str(len(design.cells())), presets)
    Console().print(table)


@study.command()
def plan(
    name: Name,
    preset: PresetName = "cpu",
    runs_dir: RunsDir = RUNS,
    output: Rows = None,
    device: Device = "auto",
    precision: Precision = None,
    speed: Annotated[
        float, typer.Option(min=1, help="Images/s that all runs train on together.")
    ] = 1_200,
) -> None:
    """Say what a study trains, what of it is there, and about how long the rest takes."""
    folder = _folder(name, preset, output, runs_dir, precision)
    planned = plan_study(folder.study, preset, choose_device(device))
    states = folder.states(planned)
    table = Table("run", "state", "seed", *folder.study.factors, title=folder.study.question)
    for run, state in states.items():
        table.add_row(run.identity, state, str(run.seed), *(level for _, level in run.cell))
    Console().print(table)
    left = [run for run, state in states.items() if state not in ("recorded", "done", "diverged")]
    images, steps = work(left)
    typer.echo(
        f"{len(planned)} runs, {len(left)} to train: {images:,} images in {steps:,} steps, "
        f"at least {timedelta(seconds=round(images / speed))} at {speed:,.0f} images/s, all jobs "
        "together"
    )


@study.command()
def run(
    name: Name,
    data_dir: Annotated[Path, typer.Option(help="Folder that holds cifar-10-batches-py/.")],
    preset: PresetName = "cpu",
    runs_dir: RunsDir = RUNS,
    output: Rows = None,
    device: Device = "auto",
    precision: Precision = None,
    jobs: Annotated[int, typer.Option(min=1, help="Runs at a time.")] = 1,
    threads: Annotated[int, typer.Option(min=1, help="CPU threads of a run.")] = 1,
    ray: Annotated[
        bool, typer.Option("--ray", help="Train on Ray: a cluster of this machine alone.")
    ] = False,
    ray_address: Annotated[
        str | None, typer.Option(help="Train on the Ray cluster at this address.")
    ] = None,
    fail_fast: Annotated[
        bool, typer.Option("--fail-fast", help="Stop at the first run that fails.")
    ] = False,
) -> None:
    """Train what a study still misses, and write its rows; a study that was stopped goes on."""
    folder = _folder(name, preset, output, runs_dir, precision)
    chosen = choose_device(device)
    planned = plan_study(folder.study, preset, chosen)
    find_folder(data_dir)
    folder.register(preset, chosen)
    typer.echo(f"{folder.study.question}\n{_progress(folder, planned)}")
    for one in sorted({run.recipe.precision for run in planned}):
        if warning := precision_warning(one, chosen):
            typer.echo(warning, err=True)
    typer.echo(f"Each run's epochs are told in {runs_dir}/RUN/train.log")
    executor = _executor(jobs, threads, ray_address or ("local" if ray else None))
    for number in (signal.SIGINT, signal.SIGTERM):  # in the background a shell ignores the first
        signal.signal(number, signal.default_int_handler)
    started = time.monotonic()
    try:
        for outcome in run_study(
            folder,
            planned,
            executor,
            data_dir=data_dir,
            device=device,
            threads=threads,
            fail_fast=fail_fast,
        ):
            ended = f"failed: {outcome.error}" if outcome.error else "ended"
            seconds = timedelta(seconds=round(time.monotonic() - started))
            typer.echo(
                f"{seconds}  {outcome.job.recipe.name} seed {outcome.job.recipe.seed} {ended}; "
                f"{_progress(folder, planned)}"
            )
    except KeyboardInterrupt:
        typer.echo("stopped; every run is saved. To go on, repeat the command", err=True)
        raise typer.Exit(130) from None
    typer.echo(f"rows: {folder.path}")


@study.command()
def report(
    name: Name,
    preset: PresetName = "cpu",
    output: Rows = None,
    device: Device = "auto",
    precision: Precision = None,
    png: Annotated[bool, typer.Option("--png", help="Figures as PNG too.")] = False,
) -> None:
    """Write a study's page and figures from its rows alone."""
    folder = _folder(name, preset, output, RUNS, precision)
    analysis = _analysis(folder, preset)
    if not analysis.rows:
        raise StudyError(
            f"study {folder.study.name!r} has no rows of the preset {preset!r} in {folder.path}; "
            f"foldnorm study run {name} --preset {preset} makes them"
        )
    figures = draw(analysis)
    page = folder.path if preset == MAIN_PRESET else folder.path / preset
    page.mkdir(exist_ok=True)
    for figure_name, figure in figures.items():
        save(figure, page, figure_name, png=png)
    text = study_page(analysis, list(figures), _registration(folder, analysis, device))
    (page / "report.md").write_text(text, encoding="utf-8")
    typer.echo(f"wrote {page / 'report.md'} and {len(figures)} figures")


@study.command()
def claims(
    output: Rows = None,
    preset: Annotated[
        str, typer.Option(help="Take the rows of this preset, which every study has.")
    ] = "cpu",
    page: Annotated[Path, typer.Option(help="The page to write.")] = Path("docs/claims.md"),
    device: Device = "auto",
) -> None:
    """Write the page of claims from the rows of all studies that ship."""
    folders = [_folder(name, preset, output, RUNS) for name in available_studies()]
    analyses = [_analysis(folder, preset) for folder in folders]
    registrations = {
        folder.study.name: _registration(folder, analysis, device)
        for folder, analysis in zip(folders, analyses, strict=True)
    }
    page.write_text(claims_page(analyses, registrations), encoding="utf-8")
    typer.echo(f"wrote {page}")


def _analysis(folder: StudyFolder, preset: str) -> Analysis:
    try:
        return analyse(folder.study, preset, folder.rows(), folder.curves())
    except ModuleNotFoundError as error:
        raise missing_package("study report", error, "study") from error


def _registration(folder: StudyFolder, analysis: Analysis, device: str) -> Registration | None:
    design = registered_design(folder.study, analysis.preset, choose_device(device))
    return registration(folder.registrations().get(analysis.preset), design, analysis.rows)


def _executor(jobs: int, threads: int, ray_address: str | None) -> Executor:
    if ray_address is None:
        return LocalExecutor(jobs)
    if find_spec("ray") is None:
        absent = ModuleNotFoundError("no ray", name="ray")
        raise missing_package("study run --ray", absent, "ray")
    return RayExecutor(ray_address, jobs, threads)


def _folder(
    name: str, preset: str, output: Path | None, runs_dir: Path, precision: str | None = None
) -> StudyFolder:
    design = load_study(name)
    if precision:
        design = replace(design, set={**design.set, "precision": precision})
    if output is None:  # what somebody tries out does not change what ships
        ships = name in available_studies() and preset in PUBLISHED and not precision
        output = STUDIES if ships else OWN_STUDIES
    return StudyFolder(design, output / design.name, RunFolders(runs_dir))


def _progress(folder: StudyFolder, planned: list[PlannedRun]) -> str:
    counts = count_states(folder.states(planned))
    return ", ".join(f"{count} {state}" for state, count in sorted(counts.items()))
