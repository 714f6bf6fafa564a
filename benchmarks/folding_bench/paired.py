"""Graphs of one network timed in turn, and which of them are the same once they are loaded.

onnxruntime rewrites a graph as it loads it. Two graphs of which it makes the same nodes run the
same kernels on tensors of the same sizes: they count as equal, and only one of them is timed. The
others take turns in every round, in random order, and a ratio is taken within a round, so that what
else runs on the machine meets both. Times are those of the processor, on the one thread that there
is: by the clock the longer run would be the one that is interrupted more. One file loaded twice
differs by several percent, by where its tensors come to lie: all are loaded anew many times, and
the bootstrap draws these loadings.
"""

from __future__ import annotations

import gc
import hashlib
import random
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from benchmarks.folding_bench.onnx_tools import optimized_by_runtime
from training.errors import GraphError
from training.evaluation.onnx_runner import open_session
from training.folding.onnx_frontend import read_model
from training.folding.proof.inputs.seeded import Feed, single_feed
from training.folding.proof.inputs.sizes import input_specs, sizes_to_try
from training.folding.proof.running.sessions import Session

LEVEL = "ORT_ENABLE_ALL"
THREADS = 1
LOADINGS = 8
WARM_UPS = 1
MIN_ROUNDS, MAX_ROUNDS = 5, 60  # of each loading
RESAMPLES = 1000
INTERVAL = (2.5, 97.5)  # percentiles of the bootstrap's medians

Times = dict[str, list[list[float]]]  # seconds, of each loading and round


@dataclass
class Paired:
    """One graph against others.

    Attributes:
        milliseconds: of the processor, medians of those that were timed: one of each kind.
        ratios: of the graph to each other one: the median of the rounds' ratios, and the limits of
            its bootstrap interval; None where both are the same once they are loaded.
        failures: why a graph does not load, by name.
    """

    rounds: int = 0
    milliseconds: dict[str, float] = field(default_factory=dict)
    ratios: dict[str, tuple[float, float, float] | None] = field(default_factory=dict)
    failures: dict[str, str] = field(default_factory=dict)


def example(path: Path) -> Feed | None:
    """Return the smallest inputs of the proof with which a model runs."""
    specs = input_specs(read_model(path))
    session = Session(path, "disable_all")
    usual, larger = sizes_to_try(specs)
    for sizes in (*usual, *larger):
        feed = single_feed(specs, sizes)
        try:
            session.run(feed)
        except GraphError:
            continue
        return feed
    return None


def compared(
    ours: str, graphs: Mapping[str, Path], feed: Feed, seconds: float, loadings: int = LOADINGS
) -> Paired:
    """Return how long one of some graphs takes next to each of the others.

    Args:
        ours: the graph that is compared.
        graphs: files by name, the original first.
        feed: what they run with.
        seconds: of measurement, roughly.
        loadings: how often all are loaded anew.
    """
    result = Paired()
    prints: dict[str, str] = {}
    for name, path in graphs.items():
        try:
            prints[name] = fingerprint(optimized_by_runtime(path, LEVEL))
        except Exception as error:  # onnxruntime's exceptions share no other base
            message = str(error).partition("\n")[0]
            result.failures[name] = message.replace(str(path), path.name)[:200]
    if ours not in prints:
        return result
    others = [name for name in prints if name != ours]
    leaders = {prints[name]: name for name in reversed([ours, *others])}  # one of each kind
    if len(leaders) > 1:
        timed = {name: graphs[name] for name in leaders.values()}
        times = _times(timed, feed, seconds, loadings)
        result.rounds = sum(map(len, times[ours]))
        result.milliseconds = {
            name: round(1e3 * float(np.median(np.concatenate(one))), 4)
            for name, one in times.items()
        }
    for name in others:
        same = prints[name] == prints[ours]
        result.ratios[name] = (
            None if same else paired_ratio(times[ours], times[leaders[prints[name]]])
        )
    return result


def paired_ratio(ours: list[list[float]], theirs: list[list[float]]) -> tuple[float, float, float]:
    """Return the median of ratios within rounds, and its bootstrap interval over the loadings."""
    ratios = [np.divide(a, b) for a, b in zip(ours, theirs, strict=True)]
    picks = np.random.default_rng(0).integers(len(ratios), size=(RESAMPLES, len(ratios)))
    medians = [np.median(np.concatenate([ratios[place] for place in pick])) for pick in picks]
    low, high = np.percentile(medians, INTERVAL)
    middle = float(np.median(np.concatenate(ratios)))
    return round(middle, 4), round(float(low), 4), round(float(high), 4)


def _times(graphs: Mapping[str, Path], feed: Feed, seconds: float, loadings: int) -> Times:
    """Time graphs in turn, in random order."""
    chance = random.Random(0)  # noqa: S311 - of orders
    names = list(graphs)
    times: Times = {name: [] for name in names}
    for _ in range(loadings):
        sessions = {
            name: open_session(graphs[name], "enable_all", THREADS)
            for name in chance.sample(names, len(names))
        }
        wanted = {one.name for one in sessions[names[0]].get_inputs()}
        arrays = {name: array for name, array in feed.arrays.items() if name in wanted}
        taken = _rounds(sessions, arrays, seconds / loadings, chance)
        for name in names:
            times[name].append(taken[name])
    return times


def _rounds(
    sessions: Mapping[str, Any],
    arrays: Mapping[str, NDArray[Any]],
    seconds: float,
    chance: random.Random,
) -> dict[str, list[float]]:
    taken: dict[str, list[float]] = {name: [] for name in sessions}
    gc.collect()
    gc.disable()
    try:
        started = time.perf_counter()
        for turn in range(WARM_UPS + MAX_ROUNDS):
            if turn >= WARM_UPS + MIN_ROUNDS and time.perf_counter() - started > seconds:
                break
            for name in chance.sample(list(sessions), len(sessions)):
                before = time.thread_time()
                sessions[name].run(None, arrays)
                after = time.thread_time()
                if turn >= WARM_UPS:
                    taken[name].append(after - before)
    finally:
        gc.enable()
    return taken


def fingerprint(model: onnx.ModelProto) -> str:
    """Return what is the same for graphs with the same nodes.

    Names, the order of nodes and the values of weights do not count, nor does a convolution's
    `kernel_shape`, which its weights have; whole numbers do, as they are shapes and axes.
    """
    known = {
        tensor.name: _digest(str(tensor.data_type), str(tuple(tensor.dims)), _whole(tensor))
        for tensor in model.graph.initializer
    }
    known |= {one.name: _digest("input", one.name) for one in model.graph.input}
    every = []
    for node in model.graph.node:  # in topological order
        attributes = sorted(
            one.SerializeToString(deterministic=True).hex()
            for one in node.attribute
            if not (one.name == "kernel_shape" and "Conv" in node.op_type)
        )
        inputs = [known.get(name, name) for name in node.input]
        digest = _digest(node.domain, node.op_type, *attributes, *inputs)
        every.append(digest)
        known |= {name: f"{digest}:{place}" for place, name in enumerate(node.output) if name}
    return _digest(*sorted(every), *(known.get(one.name, "") for one in model.graph.output))


def _whole(tensor: onnx.TensorProto) -> str:
    array: NDArray[Any] = onnx.numpy_helper.to_array(tensor)
    return array.tobytes().hex() if array.dtype.kind in "iub" and array.size < 4096 else ""


def _digest(*parts: str) -> str:
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()
