"""Tools that work on ONNX models, as their documentation says to call them.

    python -m benchmarks.folding_bench.onnx_tools < JOBS

takes a job a line, as JSON: tool, file, output. Each runs in a process of its own, since some
crash, which is a fork of this one, so that its seconds are without those of the imports. For each a
line of JSON says how it went.
"""

from __future__ import annotations

import contextlib
import json
import logging
import multiprocessing
import os
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from importlib import import_module
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import onnx

LIMIT_S = 300.0
PACKAGES = ("onnxoptimizer", "onnxscript.optimizer", "onnxscript.rewriter", "onnxsim", "onnxslim")
FOLD_PASSES = (
    "eliminate_identity",
    "fuse_add_bias_into_conv",
    "fuse_bn_into_conv",
    "fuse_matmul_add_bias_into_gemm",
    "fuse_pad_into_conv",
)


def _onnxscript(model: onnx.ModelProto) -> onnx.ModelProto:
    from onnxscript import optimizer, rewriter

    return rewriter.rewrite(optimizer.optimize(model))


def _onnxoptimizer(model: onnx.ModelProto) -> onnx.ModelProto:
    import onnxoptimizer

    folded: onnx.ModelProto = onnxoptimizer.optimize(model, list(FOLD_PASSES), fixed_point=True)
    return folded


def _onnxsim(model: onnx.ModelProto) -> onnx.ModelProto:
    import onnxsim

    folded: onnx.ModelProto = onnxsim.simplify(model)[0]
    return folded


def _onnxslim(model: onnx.ModelProto) -> onnx.ModelProto:
    import onnxslim

    folded: onnx.ModelProto = onnxslim.slim(model)
    return folded


ON_MODELS: dict[str, Callable[[onnx.ModelProto], onnx.ModelProto]] = {
    "onnxscript": _onnxscript,
    "onnxoptimizer": _onnxoptimizer,
    "onnxsim": _onnxsim,
    "onnxslim": _onnxslim,
    "onnxruntime": lambda model: optimized_by_runtime(model, "ORT_ENABLE_EXTENDED"),
}


def optimized_by_runtime(model: onnx.ModelProto | Path, level: str) -> onnx.ModelProto:
    """Return what onnxruntime makes of a model, or its file, when it loads it."""
    import onnxruntime

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "model.onnx")
        options = onnxruntime.SessionOptions()
        options.graph_optimization_level = getattr(onnxruntime.GraphOptimizationLevel, level)
        options.optimized_model_filepath = str(path)
        options.log_severity_level = 4
        onnxruntime.InferenceSession(
            str(model) if isinstance(model, Path) else model.SerializeToString(),
            options,
            providers=["CPUExecutionProvider"],
        )
        return onnx.load(path)


def main() -> None:
    """Run the jobs of standard input."""
    logging.disable(logging.CRITICAL)
    warnings.simplefilter("ignore")
    for package in PACKAGES:
        with contextlib.suppress(ImportError):
            import_module(package)
    for line in sys.stdin:
        sys.stdout.write(f"{json.dumps(_in_a_fork(*json.loads(line)))}\n")
        sys.stdout.flush()


def _in_a_fork(tool: str, source: str, output: str) -> dict[str, Any]:
    """Write what a tool makes of a file; return its seconds, and why it failed."""
    context = multiprocessing.get_context("fork")
    ours, theirs = context.Pipe()
    process = context.Process(target=_send, args=(tool, source, output, theirs))
    started = time.monotonic()
    process.start()
    theirs.close()
    try:
        failure = ours.recv() if ours.poll(LIMIT_S) else f"longer than {LIMIT_S:g} s"
    except EOFError:
        process.join()
        failure = f"exit code {process.exitcode}"
    process.kill()
    process.join()
    seconds = round(time.monotonic() - started, 1)
    return {"seconds": seconds} | ({"failure": failure} if failure else {})


def _send(tool: str, source: str, output: str, connection: Connection) -> None:
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # some print
    try:
        onnx.save(ON_MODELS[tool](onnx.load(source)), output)
        connection.send("")
    except Exception as error:
        line = str(error).strip().partition("\n")[0].replace(source, Path(source).name)
        connection.send(f"{type(error).__name__}: {line}"[:200])


if __name__ == "__main__":
    main()
