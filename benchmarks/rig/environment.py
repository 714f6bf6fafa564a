"""What a figure depends on besides the code: the machine and the versions on it."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
from pathlib import Path

from benchmarks.rig.server import ROOT

PACKAGES = (
    "onnxruntime-gpu",
    "onnxruntime",
    "fastapi",
    "starlette",
    "uvicorn",
    "uvloop",
    "httptools",
    "pillow",
    "numpy",
    "litserve",
    "torch",
)
QUESTION = """
import importlib.metadata as metadata, json, sys
found = {}
for name in sys.argv[1:]:
    try:
        found[name] = metadata.version(name)
    except metadata.PackageNotFoundError:
        pass
print(json.dumps(found))
"""


def environment(*pythons: Path) -> dict[str, object]:
    """Return the machine, the load on it, the commit, and the versions each interpreter sees."""
    return describe_machine() | {
        "load_generators": {
            "wrk": _first_line("wrk", "-v"),
            "h2load": _first_line("h2load", "--version"),
        },
        "versions": {
            python.parents[1].name: json.loads(
                _first_line(str(python), "-c", QUESTION, *PACKAGES) or "{}"
            )
            for python in (Path(sys.executable), *pythons)
            if python.exists()
        },
    }


def describe_machine() -> dict[str, object]:
    """Return the machine, the load on it and the commit."""
    return {
        "cpu": _cpu_model(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "machine": platform.machine(),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "load_average_before": os.getloadavg(),
        "commit": _first_line("git", "rev-parse", "HEAD"),
        "changed_files": len(_lines("git", "status", "--porcelain")),
    }


def _cpu_model() -> str:
    for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor()


def _first_line(*command: str) -> str | None:
    lines = _lines(*command)
    return lines[0].strip() if lines else None


def _lines(*command: str) -> list[str]:
    """Return what a program says; nothing where it is not installed."""
    try:
        run = subprocess.run(
            command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
        )
    except OSError:
        return []
    return run.stdout.splitlines()
