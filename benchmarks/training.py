"""How fast this project trains, next to the loop that tutorials teach, on this machine's CPU.

    python -m benchmarks.training --data-dir data [--rounds 5]
        [--output benchmarks/results/training.json] [--docs]

Every round takes every network, and with each network every loop, in an order that moves on by one
per round; each measurement is a process of its own. `--docs` writes the tables of docs/training.md
from the results that are there and measures nothing.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.rig.environment import describe_machine
from benchmarks.training_bench.accuracy import (
    LOOPS,
    NETWORK,
    OUR_EPOCHS,
    TARGET,
    WayToAccuracy,
)
from benchmarks.training_bench.accuracy import in_new_process as train_in_new_process
from benchmarks.training_bench.cell import CPU, Cell, in_new_process
from benchmarks.training_bench.systems import SYSTEMS
from benchmarks.training_bench.tables import summarize, with_tables
from training.trainer.device import has_fast_bfloat16

if TYPE_CHECKING:
    from collections.abc import Sequence

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results" / "training.json"
PAGE = ROOT / "docs" / "training.md"
PACKAGES = ("torch", "numpy", "pillow")


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and write the results, or write the page."""
    given = _parser().parse_args(arguments)
    if given.docs:
        results = json.loads(given.output.read_text(encoding="utf-8"))
        PAGE.write_text(with_tables(PAGE.read_text(encoding="utf-8"), results), encoding="utf-8")
        return
    found = _environment()
    cells = _rounds(given)
    ways = [] if given.quick else _ways(given.seeds, given.data_dir)
    document = {
        "benchmark": "training",
        "environment": found,
        "arguments": {"rounds": given.rounds, "seconds": given.seconds, "seeds": given.seeds},
        "systems": [asdict(system) for system in SYSTEMS],
        "speed": summarize([asdict(cell) for cell in cells]),
        "ways": {
            "network": NETWORK,
            "our_epochs": OUR_EPOCHS,
            "target": TARGET,
            "runs": [asdict(way) for way in ways],
        },
        "cells": [asdict(cell) for cell in cells],
    }
    given.output.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--data-dir", type=Path, default=Path("data"))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=8, help="at least, per measurement")
    parser.add_argument("--seeds", type=int, default=2, help="of the time to an accuracy")
    parser.add_argument("--networks", type=lambda text: text.split(","), default=[])
    parser.add_argument("--quick", action="store_true", help="without the time to an accuracy")
    parser.add_argument("--output", type=Path, default=RESULTS)
    parser.add_argument("--docs", action="store_true")
    return parser


def _environment() -> dict[str, Any]:
    fast = has_fast_bfloat16(CPU)
    return describe_machine() | {
        "versions": {package: metadata.version(package) for package in PACKAGES},
        "bfloat16": "with bfloat16 instructions" if fast else "without bfloat16 instructions",
    }


def _rounds(given: argparse.Namespace) -> list[Cell]:
    networks = dict.fromkeys(name for system in SYSTEMS for name in system.networks)
    cells = []
    for number in range(given.rounds):
        for network in given.networks or networks:
            loops = [system for system in SYSTEMS if network in system.networks]
            shift = number % len(loops)
            for system in loops[shift:] + loops[:shift]:
                cell = in_new_process(system, network, number, given.seconds, given.data_dir)
                cells.append(cell)
                sys.stderr.write(f"{number} {network} {system.name}: {cell.images_per_s:,.0f}/s\n")
    return cells


def _ways(seeds: int, data_dir: Path) -> list[WayToAccuracy]:
    ways = []
    for seed in range(seeds):
        for loop in LOOPS:
            ways.append(train_in_new_process(loop, seed, data_dir))
            sys.stderr.write(f"{loop}, seed {seed}: {ways[-1].reached_after} s\n")
    return ways


if __name__ == "__main__":
    main()
