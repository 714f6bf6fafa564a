"""ONNX networks of two zoos, folded and proved, next to four other tools.

    python -m benchmarks.onnx_zoo FOLDER [--peers PYTHON] [--files NAME,…] [--seconds 6]
        [--loadings 8] [--stages fold,peers,times] [--docs]
        [--output benchmarks/results/folding_onnx_zoo.json]

FOLDER holds what `benchmarks.onnx_zoo_export` wrote, or any ONNX files. Each is folded and proved
by the command, as a user runs it, and by the other tools in their environment (see README.md),
every time in a process of its own; then all graphs of a file take turns in onnxruntime on one
thread. Results are written after each file, and stages that are not asked for keep what they found
before.
`--docs` writes the tables of docs/folding.md and measures nothing.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

import onnx

from benchmarks.folding_bench.paired import LEVEL, LOADINGS, THREADS, compared, example
from benchmarks.folding_bench.zoo_table import PEERS, counted_kinds, totals, with_zoo
from benchmarks.folding_files import PACKAGES, folded
from benchmarks.rig.environment import describe_machine

if TYPE_CHECKING:
    from collections.abc import Sequence

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results" / "folding_onnx_zoo.json"
PAGE = ROOT / "docs" / "folding.md"
STAGES = ("fold", "peers", "times")
OURS, AS_IS = "foldnorm", "as is"
MADE = "made"  # the folder, beside the files, of what became of them

Row = dict[str, Any]


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, or write the page."""
    given = _arguments(arguments)
    known = json.loads(given.output.read_text(encoding="utf-8")) if given.output.exists() else {}
    if given.docs:
        page = with_zoo(PAGE.read_text(encoding="utf-8"), known)
        PAGE.write_text(page, encoding="utf-8")
        return
    rows: dict[str, Row] = {row["file"]: row for row in known.get("files", [])}
    environment = {
        **describe_machine(),
        "versions": _versions(given.peers),
        "onnxruntime": f"CPU, {LEVEL}, {THREADS} thread, processor time, OMP_NUM_THREADS=1",
    }
    peers = Peers(given.peers) if "peers" in given.stages else None
    # stage by stage: what a process had in memory counts as the peak of those that it starts
    for stage in (one for one in STAGES if one in given.stages):
        for path in _files(given.folder, given.files):
            name = path.relative_to(given.folder).with_suffix("").as_posix()
            row = rows.setdefault(name, {"file": name})
            made = given.folder / MADE / name
            made.mkdir(parents=True, exist_ok=True)
            if stage == "fold":
                row |= _fold(path, made)
            elif peers is not None and stage == "peers":
                row["tools"] = {tool: peers.run(tool, path, made) for tool in PEERS}
            else:
                row |= _times(path, made, given.seconds, given.loadings)
            sys.stderr.write(f"{json.dumps(row)}\n")
            _write(given.output, environment, list(rows.values()))
    sys.stdout.write(f"{json.dumps(totals(list(rows.values())))}\n")


def _arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("folder", type=Path, nargs="?", default=Path("zoo"))
    parser.add_argument("--peers", type=Path, default=Path(".venv-fold-bench/bin/python"))
    parser.add_argument("--files", type=lambda text: text.split(","))
    parser.add_argument("--seconds", type=float, default=6.0)
    parser.add_argument("--loadings", type=int, default=LOADINGS)
    parser.add_argument("--stages", type=lambda text: text.split(","), default=STAGES)
    parser.add_argument("--output", type=Path, default=RESULTS)
    parser.add_argument("--docs", action="store_true")
    return parser.parse_args(arguments)


def _files(folder: Path, wanted: Sequence[str] | None) -> list[Path]:
    """Return a folder's files without those that were made of them."""
    files = sorted(path for path in folder.rglob("*.onnx") if MADE not in path.parts)
    return [one for one in files if not wanted or any(name in str(one) for name in wanted)]


def _fold(path: Path, made: Path) -> Row:
    """Return what the command makes of a file, as a row of the results."""
    output = made / f"{OURS}.onnx"
    output.unlink(missing_ok=True)
    found = folded(path, path.stem, output)
    row: Row = {
        name: found[name] for name in ("bytes", "exit_code", "seconds", "peak_mib", "traceback")
    }
    if "outcome" not in found:
        return row | {"verdict": f"none: {found['message']}"[:300]}
    return row | {
        "norms": [found["batch_norms_before"], found["batch_norms_after"]],
        "spelled_out": found["spelled_out"],
        "kept": counted_kinds(found["kept"]),
        "verdict": found["outcome"],
        "judged": found["judged"],
        "notes": found["notes"],
    }


class Peers:
    """The other tools, in their own environment."""

    def __init__(self, python: Path) -> None:
        self._process = subprocess.Popen(
            [str(python), "-m", "benchmarks.folding_bench.onnx_tools"],
            cwd=ROOT,
            env=os.environ | {"OMP_NUM_THREADS": "1"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )

    def run(self, tool: str, path: Path, made: Path) -> Row:
        """Return what a tool makes of a file."""
        output = made / f"{tool}.onnx"
        output.unlink(missing_ok=True)
        assert self._process.stdin is not None, "it is a pipe"
        assert self._process.stdout is not None, "it is a pipe"
        job = [tool, str(path.resolve()), str(output.resolve())]
        self._process.stdin.write(f"{json.dumps(job)}\n")
        self._process.stdin.flush()
        result: Row = json.loads(self._process.stdout.readline())
        return result if "failure" in result else {"norms": _count(output)} | result


def _times(path: Path, made: Path, seconds: float, loadings: int) -> Row:
    """Return how long our graph takes, next to the file as it is and to each tool's."""
    feed = example(path)
    if feed is None or not (made / f"{OURS}.onnx").exists():
        return {"times": None}
    files = {name: made / f"{name}.onnx" for name in (OURS, *PEERS)}
    graphs = {AS_IS: path} | {name: file for name, file in files.items() if file.exists()}
    paired = compared(OURS, graphs, feed, seconds, loadings)
    return {
        "times": {
            "inputs": str(feed),
            "loadings": loadings,
            "rounds": paired.rounds,
            "ms": paired.milliseconds,
            "ratio": paired.ratios,
            "failures": paired.failures,
        }
    }


def _count(path: Path) -> int:
    model = onnx.load(path, load_external_data=False)
    return sum(node.op_type == "BatchNormalization" for node in model.graph.node)


def _versions(peers: Path) -> dict[str, str]:
    """Return the versions of what folds and of the other tools."""
    question = "import sys, importlib.metadata as m; print(*map(m.version, sys.argv[1:]))"
    run = subprocess.run(
        [str(peers), "-c", question, *PEERS], capture_output=True, text=True, check=False
    )
    theirs = dict(zip(PEERS, run.stdout.split(), strict=False))
    return {name: metadata.version(name) for name in PACKAGES} | theirs


def _write(output: Path, environment: dict[str, Any], rows: list[Row]) -> None:
    """Write the results, a line for each file."""
    document = {"benchmark": "onnx_zoo", "environment": environment, "totals": totals(rows)}
    lines = ",\n".join(f"  {json.dumps(row)}" for row in rows)
    head = json.dumps(document, indent=1).removesuffix("\n}")
    output.write_text(f'{head},\n "files": [\n{lines}\n ]\n}}\n', encoding="utf-8")


if __name__ == "__main__":
    main()
