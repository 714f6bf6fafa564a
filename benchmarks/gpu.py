"""Full trainings on a GPU, in stages with a time box each: no minute of it is lost.

    python -m benchmarks.gpu air94 keras --data-dir data --output gpu --minutes 8
    python -m benchmarks.gpu --summarize gpu --output benchmarks/results/gpu.json

A stage is one recipe or several in turns, seed after seed, in as many processes as keep the device
busy. Every finished run is a line of `OUTPUT/STAGE-WORKER.jsonl` at once; what the end of the box
finds unfinished is a line too, with the epochs that it has. `--summarize` puts the lines of all
loans of a device together. `--tiny` is a try of seconds on any device: no result.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from collections import defaultdict
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from training.evaluation.seed_statistics import statistics_of

THRESHOLDS = (0.70, 0.75, 0.79)
GRACE_S = 20  # for a worker to end its step and write, after its box is over


@dataclass(frozen=True)
class Stage:
    """What is trained, in how many processes at once: small batches leave a GPU idle."""

    recipes: tuple[str, ...]
    workers: int = 1


STAGES = {
    "air94": Stage(("air94",), workers=6),
    "keras": Stage(("keras-bn", "keras-baseline"), workers=3),
    "air95": Stage(("air95",), workers=3),
    "air96": Stage(("air96",), workers=3),
    "air-tiny": Stage(("air-tiny",)),
}


def main() -> None:
    """Run stages, or summarize what they left."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("stages", nargs="*", choices=[[], *STAGES], metavar="STAGE")
    parser.add_argument("--data-dir", type=Path)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--minutes", type=float, default=8.0, help="of each stage")
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--workers", type=int, help="processes of a stage, in place of its own")
    parser.add_argument("--seeds-each", type=int, help="seeds of a process; default: till the end")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--tiny", action="store_true")
    parser.add_argument("--summarize", type=Path)
    given = parser.parse_args()
    if given.summarize:
        table = summary(read_lines(given.summarize))
        given.output.write_text(json.dumps(table, indent=1) + "\n", encoding="utf-8")
        print(json.dumps(table["recipes"], indent=1))  # noqa: T201
        return
    if not given.stages or not given.data_dir:
        parser.error(f"name --data-dir and stages: {', '.join(STAGES)}")
    given.output.mkdir(parents=True, exist_ok=True)
    for name in given.stages:
        stage = STAGES[name]
        run_stage(name, replace(stage, workers=given.workers or stage.workers), given)


def run_stage(name: str, stage: Stage, given: argparse.Namespace) -> None:
    """Start the workers of a stage, and see to it that they end with its box."""
    seconds = 60 * given.minutes
    flags = [f"--{flag}" for flag in ("compile", "tiny") if getattr(given, flag)]
    seeds = 1 if given.tiny else given.seeds_each
    flags += [f"--seeds={seeds}"] if seeds else []
    workers = [
        subprocess.Popen(
            [
                *(sys.executable, "-m", "benchmarks.gpu_worker", ",".join(stage.recipes)),
                *("--data-dir", str(given.data_dir), "--device", given.device),
                *("--lines", str(given.output / f"{name}-{number}.jsonl")),
                *("--first-seed", str(given.first_seed + number)),
                *("--step", str(stage.workers), "--seconds", str(seconds)),
                *flags,
            ]
        )
        for number in range(stage.workers)
    ]
    until = time.monotonic() + seconds + GRACE_S
    for worker in workers:
        try:
            worker.wait(max(0.0, until - time.monotonic()))
        except subprocess.TimeoutExpired:
            worker.kill()
            worker.wait()


def read_lines(folder: Path) -> list[dict[str, Any]]:
    """Return what all workers wrote; a last line that was cut off is left out."""
    lines = [
        line
        for path in sorted(folder.rglob("*.jsonl"))
        for line in path.read_text(encoding="utf-8").splitlines(keepends=True)
    ]
    return [json.loads(line) for line in lines if line.endswith("\n")]


def summary(runs: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the statistics of each recipe, by device and precision, and all runs."""
    groups: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for run in runs:
        groups[f"{run['recipe']} on {run['hardware']}, {run['precision']}"].append(run)
    return {"recipes": {name: group_summary(group) for name, group in groups.items()}, "runs": runs}


def group_summary(runs: list[dict[str, Any]]) -> dict[str, Any]:
    """Return n, mean and spread of the finished runs, and the epochs to each threshold of all."""
    finished = [run for run in runs if run["finished"]]
    table: dict[str, Any] = {"finished": len(finished), "unfinished": len(runs) - len(finished)}
    if finished:
        table |= {
            "single_view": asdict(statistics_of([run["single_view"] for run in finished])),
            "six_views": asdict(statistics_of([run["six_views"] for run in finished])),
            "best_epoch": asdict(statistics_of([max(run["accuracies"]) for run in finished])),
            "train_seconds": asdict(statistics_of([run["train_seconds"] for run in finished])),
        }
    for threshold in THRESHOLDS:
        table[f"first_epoch_at_{threshold:g}"] = [
            next((n for n, a in enumerate(run["accuracies"], 1) if a >= threshold), None)
            for run in runs
        ]
    return table


if __name__ == "__main__":
    main()
