"""How `foldnorm-serve` compares with its peers and with the machine itself.

    python -m benchmarks.serving [--rounds 5] [--output benchmarks/results/serving.json]

Every round takes every load, and under each load every system, one after the other, in an order
that moves on by one per round. A server is started for its cell and stopped after it: the machine
does nothing else meanwhile, what is compared lies seconds apart, and every cell has a cold start.
LitServe's settings are chosen at the beginning, by measurement. The last line of stdout is one JSON
document.
"""

from __future__ import annotations

import argparse
import http.client
import json
import shlex
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.rig.environment import environment
from benchmarks.rig.server import ROOT, ServerFailedError
from benchmarks.rig.wrk import LoadGeneratorError
from benchmarks.serving_answers import WrongAnswerError
from benchmarks.serving_cells import Bench, Cell, Timing
from benchmarks.serving_summary import summarize
from benchmarks.serving_systems import (
    BENCH_PYTHON,
    LITSERVE_CANDIDATES,
    LOADS,
    litserve,
    systems,
)
from benchmarks.serving_table import table

if TYPE_CHECKING:
    from collections.abc import Sequence

    from benchmarks.serving_systems import Load, System

TUNING_LOAD = "png-64"
TUNING_ROUND = -1
FAILURES = (
    ServerFailedError,
    WrongAnswerError,
    LoadGeneratorError,
    OSError,
    subprocess.SubprocessError,
    http.client.HTTPException,
    KeyError,  # with ValueError: an answer of another shape than the system's should have
    ValueError,
)


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, print and perhaps write the results; exits 1 if a cell failed."""
    given = _parser().parse_args(arguments)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that no server outlives this
    if given.quick:
        given.rounds, given.seconds, given.warmup = 1, 1, 1
    found = environment(BENCH_PYTHON)
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(Path(folder), Timing(given.seconds, given.warmup))
        known = systems(shlex.split(given.serve_arguments), given.earlier)
        chosen, left_out = _choose(given.systems, known)
        loads = [load for load in LOADS if not given.loads or load.name in given.loads]
        tuning: list[Cell] = []
        if not given.quick and any(system.name == "litserve" for system in chosen):
            chosen, tuning = _tune_litserve(bench, chosen)
        cells = measure_rounds(bench, chosen, loads, given.rounds)
    summary = summarize(cells)
    sys.stdout.write(table(summary, markdown=given.markdown))
    document = {
        "benchmark": "serving",
        "environment": found,
        "arguments": {key: _plain(value) for key, value in vars(given).items()},
        "left_out": left_out,
        "systems": {system.name: portable(shlex.join(system.command)) for system in chosen},
        "loads": [asdict(load) for load in loads],
        "litserve_tuning": [
            {"settings": asdict(settings), "cell": asdict(cell)}
            for settings, cell in zip(LITSERVE_CANDIDATES, tuning, strict=False)
        ],
        "summary": asdict(summary),
        "cells": [asdict(cell) for cell in cells],
    }
    text = json.dumps(document)
    if given.output:
        given.output.write_text(text + "\n", encoding="utf-8")
    sys.stdout.write(text + "\n")
    sys.exit(1 if any(cell.failure for cell in cells) else 0)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description="Compare foldnorm-serve with its peers.")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=4, help="measured per cell")
    parser.add_argument("--warmup", type=int, default=1, help="seconds before each cell")
    parser.add_argument("--systems", type=names, default=(), help="a,b,…; default: all there are")
    parser.add_argument("--loads", type=names, default=(), help="a,b,…; default: all")
    parser.add_argument("--serve-arguments", default="--workers auto", help="of foldnorm-serve")
    parser.add_argument("--earlier", help="foldnorm-serve of another commit, a system of its own")
    parser.add_argument("--quick", action="store_true", help="one round of a second per cell")
    parser.add_argument("--markdown", action="store_true", help="print the table as Markdown")
    parser.add_argument("--output", type=Path, help="write the JSON document there too")
    return parser


def names(text: str) -> tuple[str, ...]:
    """Return the words of a list with commas."""
    return tuple(name for name in text.split(",") if name)


def _plain(value: object) -> object:
    return str(value) if isinstance(value, Path) else value


def _choose(names: Sequence[str], known: Sequence[System]) -> tuple[list[System], dict[str, str]]:
    """Return the systems to measure, and why the others are left out."""
    unknown = set(names) - {system.name for system in known}
    if unknown:
        raise SystemExit(f"unknown systems {sorted(unknown)}; there are {[s.name for s in known]}")
    asked = [system for system in known if not names or system.name in names]
    left_out = {system.name: why for system in asked if (why := system.missing())}
    for name, why in left_out.items():
        _say(f"left out: {name}, for {why}")
    return [system for system in asked if system.name not in left_out], left_out


def _tune_litserve(bench: Bench, chosen: list[System]) -> tuple[list[System], list[Cell]]:
    """Return the systems with the fastest LitServe, and what each candidate did."""
    (current,) = [system for system in chosen if system.name == "litserve"]
    (load,) = [load for load in LOADS if load.name == TUNING_LOAD]
    candidates = [litserve(current.graph, settings) for settings in LITSERVE_CANDIDATES]
    cells = [_measure(bench, candidate, load, TUNING_ROUND) for candidate in candidates]
    best = max(range(len(cells)), key=lambda index: cells[index].images_per_s)
    _say(f"litserve runs with {shlex.join(LITSERVE_CANDIDATES[best].arguments())}")
    return [candidates[best] if s.name == "litserve" else s for s in chosen], cells


def measure_rounds(
    bench: Bench, chosen: Sequence[System], loads: Sequence[Load], rounds: int
) -> list[Cell]:
    """Return the cells of all rounds, the systems in turns."""
    return [
        _measure(bench, system, load, round_)
        for round_ in range(rounds)
        for load in loads
        for system in _rotated(chosen, round_)
        if load.name in system.loads
    ]


def _rotated(chosen: Sequence[System], turn: int) -> list[System]:
    start = turn % len(chosen)
    return [*chosen[start:], *chosen[:start]]


def _measure(bench: Bench, system: System, load: Load, round_: int) -> Cell:
    """Measure a cell; one that fails does not end the others."""
    started = time.perf_counter()
    try:
        cell = bench.cell(system, load, round_)
        said = f"{cell.images_per_s:8,.0f} images/s  p50 {cell.p50_ms:7.2f}  p99 {cell.p99_ms:7.2f}"
    except FAILURES as error:
        cell = Cell(system.name, load.name, round_, failure=portable(f"{error}"))
        said = f"failed: {error}"
    took = time.perf_counter() - started
    turn = f"round {round_ + 1}" if round_ != TUNING_ROUND else "tuning "
    _say(f"{turn}  {load.name:12} {system.name:10} {said}  ({took:.1f} s)")
    return cell


def portable(text: str) -> str:
    """Return a text with paths as they are from the repository's folder."""
    return text.replace(f"{ROOT}/", "")


def _say(line: str) -> None:
    sys.stderr.write(line + "\n")


if __name__ == "__main__":
    main()
