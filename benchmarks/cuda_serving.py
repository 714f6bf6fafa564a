"""What the service answers where CUDA runs the network, next to the processors of that machine.

    python -m benchmarks.cuda_serving --output benchmarks/results/cuda_serving.json

    cuda    one worker, `FOLDNORM_CUDA=on`
    cpu     a worker for each processor, `FOLDNORM_CUDA=off`

Loads, rounds and cells are those of `benchmarks.serving`: a server is started for its cell, and
must answer right before it is timed.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING

import onnxruntime

from benchmarks.rig.environment import environment
from benchmarks.serving import measure_rounds, names
from benchmarks.serving_cells import Bench, Timing
from benchmarks.serving_summary import summarize
from benchmarks.serving_systems import LOADS, Load, System, ours
from benchmarks.serving_table import table
from models.bundle import load_bundle

if TYPE_CHECKING:
    from collections.abc import Sequence

WIDE = (Load("png-256", "png", 256, 1), Load("arrays-64x16", "arrays", 16, 64))


def systems(folder: Path) -> list[System]:
    """Return the service with one network of an artifact, on CUDA and on the processors."""
    artifact = load_bundle(folder)
    graph = folder / artifact.manifest.graphs[artifact.served_variant].file
    found = []
    for name, cuda, workers in (("cuda", "on", 1), ("cpu", "off", len(os.sched_getaffinity(0)))):
        system = ours(name, graph, artifact.name, ("--workers", str(workers)))
        settings = {"FOLDNORM_CUDA": cuda, "FOLDNORM_DEFAULT_MODEL": artifact.name}
        settings["FOLDNORM_ARTIFACTS"] = str(folder.resolve().parent)
        every = tuple(load.name for load in (*LOADS, *WIDE))
        found.append(replace(system, environment=settings, loads=every))
    return found


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, print and write; exits 1 if a cell failed."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--artifact", type=Path, default=Path("models/artifacts/air94-1.1.0"))
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--loads", type=names, default=(), help="a,b,…; default: all")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=int, default=2)
    given = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(Path(folder), Timing(given.seconds, warmup_s=1))
        loads = [load for load in (*LOADS, *WIDE) if load.name in given.loads or not given.loads]
        cells = measure_rounds(bench, systems(given.artifact), loads, given.rounds)
    summary = summarize(cells)
    sys.stdout.write(table(summary, markdown=False))
    document = {
        "benchmark": "cuda_serving",
        "artifact": given.artifact.name,
        "environment": environment(),
        "onnxruntime": onnxruntime.__version__,
        "loads": [asdict(load) for load in loads],
        "summary": asdict(summary),
        "cells": [asdict(cell) for cell in cells],
    }
    given.output.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    sys.exit(1 if any(cell.failure for cell in cells) else 0)


if __name__ == "__main__":
    main()
