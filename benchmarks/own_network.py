"""A packed network of anybody's: served, behind a tutorial's FastAPI app, and in process.

    python -m benchmarks.own_network ARTIFACT PICTURES [--output FILE]

    in-process   decode and run in one process, one picture after the other, each core's turn
    naive-1      the app with one worker, onnxruntime's own number of threads
    naive-2      the app with a worker for each core, a thread each
    ours         foldnorm-serve

All take the same picture files in turn, over 1 and over 16 connections, in rounds that each begin
with another system. Before it is timed a system must name the class that the in-process run names.
"""

from __future__ import annotations

import argparse
import http.client
import io
import json
import multiprocessing
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import onnxruntime
from PIL import Image

from benchmarks.rig.environment import environment
from benchmarks.rig.server import Server
from benchmarks.rig.spread import spread
from benchmarks.rig.wrk import run_wrk
from models.bundle import Bundle, load_bundle
from models.preprocessing import preprocess

if TYPE_CHECKING:
    from collections.abc import Sequence

CORES = 2
CONNECTIONS = (1, 16)
TYPES = {".jpg": "image/jpeg", ".jpeg": "image/jpeg", ".png": "image/png"}
BIN = Path(sys.executable).parent


def systems(artifact: Bundle) -> dict[str, tuple[tuple[str, ...], dict[str, str], str]]:
    """Return command, variables and path of every server."""
    app = (str(BIN / "uvicorn"), "benchmarks.serving_peers.own_network:app", "--port", "{port}")
    quiet, folder = ("--log-level", "error"), {"ARTIFACT": str(artifact.path.resolve())}
    served = str(artifact.path.resolve().parent)
    serve = (str(BIN / "foldnorm-serve"), "--artifacts", served, "--port", "{port}")
    return {
        "naive-1": ((*app, *quiet), folder, "/predict"),
        "naive-2": ((*app, *quiet, "--workers", str(CORES)), folder | {"THREADS": "1"}, "/predict"),
        "ours": (serve, {"FOLDNORM_DEFAULT_MODEL": artifact.name}, "/v1/predict"),
    }


def in_process(path: Path, files: Sequence[bytes], seconds: float) -> tuple[int, list[str]]:
    """Return how many pictures one process got through, and the label of each file."""
    artifact = load_bundle(path)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(
        artifact.read_graph(artifact.served_variant), options, providers=["CPUExecutionProvider"]
    )
    labels: list[str] = []
    done, until = 0, time.perf_counter() + seconds
    while len(labels) < len(files) or time.perf_counter() < until:
        with Image.open(io.BytesIO(files[done % len(files)])) as image:
            pixels = preprocess(image, artifact.manifest.input)
        (logits,) = session.run(["logits"], {"image": pixels[None]})
        labels.append(artifact.manifest.labels[int(logits[0].argmax())])
        done += 1
    return done, labels[: len(files)]


def _ask(port: int, path: str, kind: str, content: bytes) -> dict[str, Any]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    connection.request("POST", path, content, {"Content-Type": kind})
    answer = connection.getresponse()
    found: dict[str, Any] = json.loads(answer.read())
    if answer.status != http.HTTPStatus.OK:
        raise OSError(f"{answer.status}: {found}")
    return found


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("artifact", type=Path)
    parser.add_argument("pictures", type=Path)
    parser.add_argument("--output", type=Path)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=5)
    given = parser.parse_args(arguments)
    artifact = load_bundle(given.artifact)
    paths = sorted(path for path in given.pictures.iterdir() if path.suffix in TYPES)
    kinds = {TYPES[path.suffix] for path in paths}
    if len(kinds) != 1:
        parser.error(
            f"{given.pictures} must hold pictures of one type, and holds {kinds or 'none'}"
        )
    (kind,) = kinds
    files = [path.read_bytes() for path in paths]
    _, labels = in_process(given.artifact, files, 0)
    found = environment()
    with tempfile.TemporaryDirectory() as temporary:
        bodies = Path(temporary, "bodies")
        bodies.mkdir()
        (bodies / "headers").write_text(f"Content-Type: {kind}\n", encoding="ascii")
        for index, content in enumerate(files, start=1):
            (bodies / f"{index}.body").write_bytes(content)
        cells = measure(artifact, files, kind, labels, bodies, given.rounds, given.seconds)
    document = {
        "benchmark": "own_network",
        "artifact": artifact.path.name,
        "pictures": [path.name for path in paths],
        "rounds": given.rounds,
        "seconds": given.seconds,
        "environment": found,
        "summary": summary(cells),
        "cells": cells,
    }
    text = json.dumps(document, indent=1) + "\n"
    if given.output:
        given.output.write_text(text, encoding="utf-8")
    sys.stdout.write(json.dumps(document["summary"], indent=1) + "\n")


def measure(
    artifact: Bundle,
    files: Sequence[bytes],
    kind: str,
    labels: Sequence[str],
    bodies: Path,
    rounds: int,
    seconds: float,
) -> list[dict[str, Any]]:
    """Return a row for each round, system and number of connections."""
    servers = systems(artifact)
    names = [*servers, "in-process"]
    rows: list[dict[str, Any]] = []
    for number in range(rounds):
        for name in (*names[number % len(names) :], *names[: number % len(names)]):
            if name == "in-process":
                with multiprocessing.get_context("spawn").Pool(CORES) as pool:
                    task = (artifact.path, files, seconds)
                    done = pool.starmap(in_process, [task] * CORES)
                rate = sum(count for count, _ in done) / seconds
                rows.append({"round": number, "system": name, "images_per_s": round(rate, 2)})
                continue
            command, variables, path = servers[name]
            with Server(command, variables) as server:
                server.wait_for_answer(lambda: bool(_ask(server.port, path, kind, files[0])))  # noqa: B023
                server.wait_until_quiet()
                _check(name, [_ask(server.port, path, kind, one) for one in files], labels)
                for connections in CONNECTIONS:
                    loop = run_wrk(server.url + path, bodies, connections, seconds)
                    rows.append(
                        {
                            "round": number,
                            "system": name,
                            "connections": connections,
                            "images_per_s": round(loop.answered_per_s, 2),
                            "p50_ms": loop.p50_ms,
                            "p99_ms": loop.p99_ms,
                            "errors": sum(loop.errors.values()),
                            "memory_mib": round(sum(server.memory_mib()), 1),
                        }
                    )
    return rows


def _check(name: str, answers: Sequence[dict[str, Any]], labels: Sequence[str]) -> None:
    """Refuse to time a system that names other classes; a resize may round a size otherwise."""
    found = [one["label"] if "label" in one else one["predictions"][0]["label"] for one in answers]
    if found != list(labels):
        raise ValueError(f"{name} answers {found}, and {list(labels)} is right")


def summary(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Return medians by system and connections, and ours over each other round by round."""
    found: dict[str, Any] = {}
    for connections in CONNECTIONS:
        ours = _by_round(rows, "ours", connections)
        for name in dict.fromkeys(row["system"] for row in rows):
            own = _by_round(rows, name, None if name == "in-process" else connections)
            ratios = [ours[n]["images_per_s"] / own[n]["images_per_s"] for n in ours if n in own]
            found[f"{name}, {connections} connections"] = {
                "images_per_s": spread(row["images_per_s"] for row in own.values()),
                "p50_ms": spread(row["p50_ms"] for row in own.values() if "p50_ms" in row),
                "ours_over_it": round(statistics.median(ratios), 3),
            }
    return found


def _by_round(
    rows: Sequence[dict[str, Any]], name: str, connections: int | None
) -> dict[int, dict[str, Any]]:
    return {
        row["round"]: row
        for row in rows
        if row["system"] == name and row.get("connections") == connections
    }


if __name__ == "__main__":
    main()
