"""A dataset over a line that breaks: how many calls, bytes and seconds until it is there.

A user calls again until it is there, four times at most. pooch has to be importable by the variant:
in the environment, or by PYTHONPATH.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import subprocess
import sys
import tarfile
import tempfile
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks.ablations_bench.weak_server import WeakServer, running

if TYPE_CHECKING:
    from benchmarks.ablations_bench.rounds import Values
    from benchmarks.ablations_bench.trees import Tree

CONTENT_BYTES = 40_000_000
PACE = 20e6  # bytes per second
BREAK_SHARE = 0.9
FOLDER = "cifar-10-batches-py"
FILE = "data_batch_1"
CALLER = """
import json, sys, time
from pathlib import Path
from training.download import Archive, fetch_dataset, is_complete

given = json.loads(sys.argv[1])
archive = Archive(given["url"], given["md5"], given["size"], given["files"])
errors, folder = [], None
began_at = time.perf_counter()
while folder is None and len(errors) < 4:
    try:
        folder = fetch_dataset(Path(given["folder"]), lambda done: None, archive)
    except Exception as error:
        errors.append(f"{type(error).__name__}: {error}")
print(json.dumps({
    "seconds": time.perf_counter() - began_at,
    "calls": len(errors) + (folder is not None),
    "complete": folder is not None and is_complete(folder, archive),
    "errors": errors,
}))
"""


def measure_downloading(tree: Tree) -> Values:
    """Measure one round of a tree."""
    content, _ = _archive()
    broken = int(BREAK_SHARE * len(content))
    cases = {
        "whole": WeakServer(content, PACE),
        "broken": WeakServer(content, PACE, break_at=broken),
        "broken_no_ranges": WeakServer(content, PACE, ranges=False, break_at=broken),
        "login_page_first": WeakServer(content, PACE, login_first=True),
    }
    values: Values = {}
    for name, server in cases.items():
        with running(server):
            told = _fetch(tree, server.url)
        values[f"{name}_s"] = round(told["seconds"], 2)
        values[f"{name}_calls"] = float(told["calls"])
        values[f"{name}_complete"] = float(told["complete"])
        values[f"{name}_sent_to_size"] = round(server.sent_bytes / len(content), 3)
        for error in told["errors"]:
            sys.stderr.write(f"{name}: {error}\n")
    return values


def _fetch(tree: Tree, url: str) -> dict[str, Any]:
    content, files = _archive()
    with tempfile.TemporaryDirectory() as folder:
        digest = hashlib.md5(content, usedforsecurity=False).hexdigest()
        given = {"url": url, "md5": digest, "size": len(content), "files": files, "folder": folder}
        paths = [str(tree.folder), *filter(None, [os.environ.get("PYTHONPATH")])]
        run = subprocess.run(
            [sys.executable, "-P", "-c", CALLER, json.dumps(given)],
            env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
            stdout=subprocess.PIPE,
            check=True,
            text=True,
        )
    told: dict[str, Any] = json.loads(run.stdout.splitlines()[-1])
    return told


@cache
def _archive() -> tuple[bytes, dict[str, str]]:
    """Return an archive that does not compress, and the checksums of its files."""
    data = np.random.default_rng(0).bytes(CONTENT_BYTES)
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz", compresslevel=0) as tar:
        entry = tarfile.TarInfo(f"{FOLDER}/{FILE}")
        entry.size = len(data)
        tar.addfile(entry, io.BytesIO(data))
    return buffer.getvalue(), {FILE: hashlib.md5(data, usedforsecurity=False).hexdigest()}
