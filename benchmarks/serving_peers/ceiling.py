"""How many images a second the machine can do when nobody asks over HTTP.

    python -m benchmarks.serving_peers.ceiling --model model.onnx --job png --seconds 4

One process per core, each with a single-threaded session and all images in memory. `png` decodes
and runs as many files at a time as `--images-per-run` says; `arrays` runs uint8 arrays as they are.
The last line of stdout is one JSON document.
"""

from __future__ import annotations

import argparse
import itertools
import json
import multiprocessing
import os
import sys
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
import onnxruntime

from benchmarks.rig.bodies import bodies
from benchmarks.serving_peers.decoding import decode_png

if TYPE_CHECKING:
    from collections.abc import Sequence
    from multiprocessing.queues import Queue
    from multiprocessing.synchronize import Barrier

    from numpy.typing import NDArray

Job = Literal["png", "arrays"]


@dataclass(frozen=True)
class Task:
    """What each process does."""

    model: str
    job: Job
    images_per_run: int
    seconds: float
    warmup_s: float


def main() -> None:
    """Run the processes and print what they did together."""
    parser = argparse.ArgumentParser(description="The in-process ceiling.")
    parser.add_argument("--model", required=True)
    parser.add_argument("--job", choices=["png", "arrays"], required=True)
    parser.add_argument("--images-per-run", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=4.0)
    parser.add_argument("--warmup", type=float, default=1.0)
    parser.add_argument("--processes", type=int, default=len(os.sched_getaffinity(0)))
    given = parser.parse_args()
    task = Task(given.model, given.job, given.images_per_run, given.seconds, given.warmup)
    sys.stdout.write(json.dumps(measure(task, given.processes)) + "\n")


def measure(task: Task, processes: int) -> dict[str, float]:
    """Return images per second of all processes together, and milliseconds per run."""
    context = multiprocessing.get_context("spawn")
    barrier = context.Barrier(processes)
    results: Queue[tuple[float, list[float]]] = context.Queue()
    workers = [
        context.Process(target=work, args=(task, barrier, results)) for _ in range(processes)
    ]
    for worker in workers:
        worker.start()
    done = [results.get(timeout=task.seconds + task.warmup_s + 60) for _ in workers]
    for worker in workers:
        worker.join()
    runs_ms = np.concatenate([run_ms for _, run_ms in done])
    return {
        "images_per_s": sum(rate for rate, _ in done),
        "runs": len(runs_ms),
        "p50_ms": float(np.percentile(runs_ms, 50)),
        "p99_ms": float(np.percentile(runs_ms, 99)),
    }


def work(task: Task, barrier: Barrier, results: Queue[tuple[float, list[float]]]) -> None:
    """Load the model, wait for the others, warm up, measure."""
    session = single_threaded(task.model)
    inputs = _inputs(task)
    barrier.wait()
    _repeat(session, inputs, task.warmup_s)
    results.put(_repeat(session, inputs, task.seconds))


def single_threaded(model: str) -> onnxruntime.InferenceSession:
    """Return a session that runs in its caller's thread."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def _inputs(task: Task) -> Sequence[list[bytes] | NDArray[np.uint8]]:
    if task.job == "arrays":
        return list(bodies("uint8", task.images_per_run).images)
    contents = bodies("png").contents
    step = task.images_per_run
    return [list(contents[at : at + step]) for at in range(0, len(contents) - step + 1, step)]


def _repeat(
    session: onnxruntime.InferenceSession,
    inputs: Sequence[list[bytes] | NDArray[np.uint8]],
    seconds: float,
) -> tuple[float, list[float]]:
    """Return images per second and the milliseconds of each run."""
    images, runs_ms = 0, []
    started = now = time.perf_counter()
    for batch in itertools.cycle(inputs):
        array = np.stack([decode_png(file) for file in batch]) if isinstance(batch, list) else batch
        session.run(["probabilities"], {"image": array})
        images += len(batch)
        before, now = now, time.perf_counter()
        runs_ms.append((now - before) * 1000)
        if now - started >= seconds:
            break
    return images / (now - started), runs_ms


if __name__ == "__main__":
    main()
