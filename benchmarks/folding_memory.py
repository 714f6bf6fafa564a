"""Seconds and memory that folding a network of 100 million parameters takes.

    python -m benchmarks.folding_memory [--runs 3] [--output benchmarks/results/folding_memory.json]

The network is built once, in a temporary folder. Each run is a process of its own, which reads the
file, folds it and writes the result. Its memory is the highest that it ever held, less what it held
before it read the file: Python, numpy and onnx themselves. The last line of stdout is one JSON
document.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import onnx
import onnx_ir as ir
from onnx import helper, numpy_helper

from benchmarks.rig.environment import describe_machine
from training.folding.onnx_frontend.files import read_model, write_model
from training.folding.onnx_frontend.folded_model import fold_model

if TYPE_CHECKING:
    from collections.abc import Sequence

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("numpy", "onnx", "onnx-ir")
WIDTHS = (64, *(1024,) * 11, 608)  # 3 x 3 convolutions, each with a batch norm and a relu
SECONDS_LIMIT, MEMORY_LIMIT = 5.0, 3.0


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, print and perhaps write the results; exits 1 if a run is over a limit."""
    given = _parser().parse_args(arguments)
    if given.fold is not None:
        print(json.dumps(_fold(given.fold)))  # noqa: T201 - the answer to the parent process
        return
    with tempfile.TemporaryDirectory(prefix="foldnorm-") as folder:
        path = Path(folder, "model.onnx")
        parameters = _build(path)
        size = path.stat().st_size
        runs = [_in_new_process(path) for _ in range(given.runs)]
    document = {
        "benchmark": "folding_memory",
        "environment": describe_machine()
        | {"versions": {package: metadata.version(package) for package in PACKAGES}},
        "parameters": parameters,
        "file_bytes": size,
        "limits": {"seconds": SECONDS_LIMIT, "peak_over_file": MEMORY_LIMIT},
        "runs": [run | {"peak_over_file": round(run["peak_bytes"] / size, 2)} for run in runs],
    }
    if given.output is not None:
        given.output.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(document))  # noqa: T201 - the result
    if any(not _within_limits(run, size) for run in runs):
        raise SystemExit(1)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--output", type=Path)
    parser.add_argument("--fold", type=Path, help=argparse.SUPPRESS)
    return parser


def _within_limits(run: dict[str, float], size: int) -> bool:
    return run["seconds"] < SECONDS_LIMIT and run["peak_bytes"] < MEMORY_LIMIT * size


def _build(path: Path) -> int:
    """Write the network, and return its number of parameters."""
    rng = np.random.default_rng(0)
    nodes, tensors = [], []
    channels, last = 3, "x"
    for number, width in enumerate(WIDTHS):
        weight = rng.standard_normal((width, channels, 3, 3), np.float32)
        weight *= (2 / (9 * channels)) ** 0.5
        stats = {
            "gamma": rng.uniform(0.5, 1.5, width),
            "beta": rng.standard_normal(width),
            "mean": rng.standard_normal(width),
            "var": rng.uniform(0.5, 2.0, width),
        }
        names = [f"{name}{number}" for name in stats]
        tensors.append(numpy_helper.from_array(weight, f"weight{number}"))
        tensors += [
            numpy_helper.from_array(vector.astype(np.float32), name)
            for name, vector in zip(names, stats.values(), strict=True)
        ]
        conv, norm, relu = (f"{kind}{number}" for kind in ("conv", "norm", "relu"))
        inputs = [last, f"weight{number}"]
        nodes += [
            helper.make_node("Conv", inputs, [conv], conv, pads=[1, 1, 1, 1]),
            helper.make_node("BatchNormalization", [conv, *names], [norm], norm),
            helper.make_node("Relu", [norm], [relu], relu),
        ]
        channels, last = width, relu
    image = helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, ["N", 3, 32, 32])
    result = helper.make_tensor_value_info(last, onnx.TensorProto.FLOAT, ["N", channels, 32, 32])
    graph = helper.make_graph(nodes, "large", [image], [result], tensors)
    opsets = [helper.make_opsetid("", 17)]
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=8), path)
    return sum(int(np.prod(tensor.dims)) for tensor in tensors)


def _in_new_process(path: Path) -> dict[str, float]:
    command = [sys.executable, "-m", "benchmarks.folding_memory", "--fold", str(path)]
    answer = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True)
    run: dict[str, float] = json.loads(answer.stdout)
    return run


def _fold(path: Path) -> dict[str, float]:
    """Read, fold and write a network; return how long each took and the memory on top."""
    _fold_once_small()
    before = _status_bytes("VmRSS")
    start = time.perf_counter()
    model = read_model(path)
    read = time.perf_counter()
    folded = fold_model(model)
    done = time.perf_counter()
    write_model(folded.model, path.with_name("folded.onnx"))
    written = time.perf_counter()
    assert len(folded.norms) == len(WIDTHS), "there is a batch norm for each layer"
    assert all(row.folded for row in folded.rows), "this network folds completely"
    return {
        "seconds": round(written - start, 3),
        "read_seconds": round(read - start, 3),
        "fold_seconds": round(done - read, 3),
        "write_seconds": round(written - done, 3),
        "peak_bytes": _status_bytes("VmHWM") - before,
    }


def _fold_once_small() -> None:
    """Load what the first fold of a process imports, so that it counts as there before."""
    empty = helper.make_graph([], "empty", [], [])
    fold_model(ir.from_proto(helper.make_model(empty)))


def _status_bytes(field: str) -> int:
    """Return what the kernel counts for this program alone; getrusage counts its parent's peak."""
    status = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    line = next(line for line in status if line.startswith(f"{field}:"))
    return int(line.split()[1]) * 1024


if __name__ == "__main__":
    main()
