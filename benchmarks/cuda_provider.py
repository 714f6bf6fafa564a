"""onnxruntime's CUDA provider on an artifact: which graph, how called, how many images at a time.

    python -m benchmarks.cuda_provider --data-dir data --output cuda_provider.json

    graphs   folded, unfolded, and folded in float16 (onnxruntime's own converter)
    copied   arrays in the host's memory, as the service calls it
    bound    input and outputs stay on the device
    replayed the same, the kernels captured once as a CUDA graph

Every cell has a session of its own, all are run in turns, and a cell that the provider refuses
says why. `--provider CPUExecutionProvider --rounds 2 --batch-sizes 1 4` tries it without a GPU: no
result.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import torch
from onnxruntime.transformers.float16 import convert_float_to_float16

from models.bundle import Bundle, load_bundle
from training.data.cifar10 import load_test_split
from training.evaluation.environment import describe_environment

CUDA, CPU = "CUDAExecutionProvider", "CPUExecutionProvider"
BATCH_SIZES = (1, 8, 64, 256, 1024)
WAYS = ("copied", "bound", "replayed")
WARM_UP = 3  # runs; a CUDA graph is captured in them


@dataclass(frozen=True)
class Cell:
    """What is timed."""

    graph: str
    batch: int
    way: str


def graphs_of(artifact: Bundle) -> dict[str, bytes]:
    """Return the graphs to compare, as bytes."""
    folded = artifact.read_graph(artifact.served_variant)
    half = convert_float_to_float16(onnx.load_from_string(folded), keep_io_types=True)
    graphs = {"folded": folded, "half": half.SerializeToString()}
    if "unfolded" in artifact.manifest.graphs:
        graphs["unfolded"] = artifact.read_graph("unfolded")
    return graphs


def call_of(
    cell: Cell, graph: bytes, images: np.ndarray, provider: str
) -> Callable[[], np.ndarray]:
    """Return what runs one batch and leaves its logits, (B, classes) float32, on the host or not.

    images (N, H, W, C) uint8, of which the first B are taken. Nothing is copied back but where the
    way is `copied`; the logits of the others are those of their first run.
    """
    options: dict[str, str] = {}
    if cell.way == "replayed":
        if provider != CUDA:
            raise ValueError("only CUDA has graphs of kernels")
        options["enable_cuda_graph"] = "1"
    session = onnxruntime.InferenceSession(graph, providers=[(provider, options)])
    if session.get_providers()[0] != provider:
        raise ValueError(f"onnxruntime fell back to {session.get_providers()[0]}")
    name, batch = session.get_inputs()[0].name, np.ascontiguousarray(images[: cell.batch])
    if cell.way == "copied":
        return lambda: session.run(None, {name: batch})[0]
    device = "cuda" if provider == CUDA else "cpu"
    binding = session.io_binding()
    binding.bind_ortvalue_input(name, onnxruntime.OrtValue.ortvalue_from_numpy(batch, device, 0))
    held = []  # a captured graph writes to the same addresses again
    for output in session.get_outputs():
        shape = [cell.batch, *output.shape[1:]]
        held.append(onnxruntime.OrtValue.ortvalue_from_shape_and_type(shape, np.float32, device, 0))
        binding.bind_ortvalue_output(output.name, held[-1])
    session.run_with_iobinding(binding)
    logits: np.ndarray = held[0].numpy()

    def run() -> np.ndarray:
        session.run_with_iobinding(binding)
        binding.synchronize_outputs()
        return logits

    return run


def measure(
    graphs: dict[str, bytes], images: np.ndarray, provider: str, sizes: list[int], rounds: int
) -> list[dict[str, Any]]:
    """Return times and rates of all cells, run in turns, and the answers that half changes."""
    calls: dict[Cell, Callable[[], np.ndarray]] = {}
    refused: dict[Cell, str] = {}
    for cell in (Cell(*one) for one in product(graphs, sizes, WAYS)):
        try:
            calls[cell] = call_of(cell, graphs[cell.graph], images, provider)
            for _ in range(WARM_UP):
                calls[cell]()
        except Exception as error:  # onnxruntime raises classes of its own
            calls.pop(cell, None)
            refused[cell] = str(error).partition("\n")[0]
    times: dict[Cell, list[float]] = {cell: [] for cell in calls}
    for _ in range(rounds):
        for cell, call in calls.items():
            started = time.perf_counter()
            call()
            times[cell].append(1e3 * (time.perf_counter() - started))
    rows: list[dict[str, Any]] = []
    for cell, seconds in times.items():
        low, middle, high = np.percentile(seconds, [10, 50, 90])
        against = times.get(Cell("folded", cell.batch, "copied"))
        rows.append(
            {
                **vars(cell),
                "median_ms": round(float(middle), 4),
                "p10_ms": round(float(low), 4),
                "p90_ms": round(float(high), 4),
                "images_per_second": round(1e3 * cell.batch / float(middle)),
                "times_as_fast_as_folded_copied": against
                and round(float(np.median(np.divide(against, seconds))), 3),
            }
        )
    return rows + [{**vars(cell), "refused": reason} for cell, reason in refused.items()]


def answers(graphs: dict[str, bytes], images: np.ndarray, provider: str) -> dict[str, Any]:
    """Return how far each graph's logits are from the folded one's, and how many answers change."""
    found: dict[str, Any] = {}
    folded = call_of(Cell("folded", len(images), "copied"), graphs["folded"], images, provider)()
    for name, graph in graphs.items():
        try:
            logits = call_of(Cell(name, len(images), "copied"), graph, images, provider)()
        except Exception as error:  # onnxruntime raises classes of its own
            found[name] = {"refused": str(error).partition("\n")[0]}
            continue
        found[name] = {
            "largest_logit_difference": float(np.abs(logits - folded).max()),
            "answers_changed": int((logits.argmax(1) != folded.argmax(1)).sum()),
        }
    return found


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--artifact", type=Path, default=Path("models/artifacts/air94-1.1.0"))
    parser.add_argument("--data-dir", type=Path, required=True)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--provider", default=CUDA, choices=(CUDA, CPU))
    parser.add_argument("--batch-sizes", type=int, nargs="+", default=list(BATCH_SIZES))
    parser.add_argument("--rounds", type=int, default=200)
    given = parser.parse_args()
    if given.provider == CUDA:
        torch.zeros(1, device="cuda")  # torch brings CUDA and cuDNN, which onnxruntime needs
        onnxruntime.preload_dlls()
    artifact = load_bundle(given.artifact)
    graphs = graphs_of(artifact)
    images = load_test_split(given.data_dir).images
    device = torch.device("cuda" if given.provider == CUDA else "cpu")
    document = {
        "artifact": artifact.path.name,
        "provider": given.provider,
        "onnxruntime": onnxruntime.__version__,
        "environment": describe_environment(device),
        "rounds": given.rounds,
        "cells": measure(graphs, images, given.provider, given.batch_sizes, given.rounds),
        "answers": answers(graphs, images[: max(given.batch_sizes)], given.provider),
    }
    given.output.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(document["cells"], indent=1))  # noqa: T201


if __name__ == "__main__":
    main()
