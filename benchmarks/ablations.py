"""What the product's own code gives where a library would do, piece by piece.

    python -m benchmarks.ablations [--only changing] [--output benchmarks/results/ablations.json]

    accepting     connections: our acceptor, and the asyncio servers of uvicorn and uvloop
    supervising   workers: our supervisor with a socket each, and uvicorn's own with one for all
    changing      models: the two-phase change, and new workers that take over from the old
    scanning      batch norms in training mode: which of them hash and golden logits let through
    downloading   the dataset: our resumable download, and pooch

Each piece is compared with a commit in which the library does its work. Both are checked out side
by side and measured in turn; who begins changes every round. The last line of stdout is one JSON
document.
"""

from __future__ import annotations

import argparse
import json
import signal
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.ablations_bench.accepting import measure_accepting
from benchmarks.ablations_bench.changing import measure_changing
from benchmarks.ablations_bench.downloading import measure_downloading
from benchmarks.ablations_bench.rounds import compare, held, take_turns
from benchmarks.ablations_bench.scanning import scan_report
from benchmarks.ablations_bench.supervising import measure_supervising
from benchmarks.ablations_bench.trees import changed_lines, checked_out
from benchmarks.rig.environment import environment

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from benchmarks.ablations_bench.rounds import Values
    from benchmarks.ablations_bench.trees import Tree

BASE = "b4d3d6d"
SCANNING = "scanning"  # needs no variant: without the scan nothing takes its place


@dataclass(frozen=True)
class Ablation:
    """A commit in which a library does the work, and what is measured of it.

    The commits are in the history of the main branch, merged without their changes.
    """

    variant: str
    measure: Callable[[Tree], Values]


ABLATIONS = {
    "accepting": Ablation("d4d324148a", measure_accepting),
    "supervising": Ablation("732c24ea02", measure_supervising),
    "changing": Ablation("18ca6e6e6f", measure_changing),
    "downloading": Ablation("10c7269181", measure_downloading),
}


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, print and perhaps write the results; a file's other pieces stay in it."""
    given = _parser().parse_args(arguments)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that no server outlives this
    document: dict[str, Any] = {"benchmark": "ablations", "ablations": {}}
    if given.output and given.output.exists():
        document = json.loads(given.output.read_text(encoding="utf-8"))
    for name in given.only or [*ABLATIONS, SCANNING]:
        document["ablations"][name] = _measure(name, given)
        text = json.dumps(document)
        if given.output:
            given.output.write_text(text + "\n", encoding="utf-8")
    sys.stdout.write(json.dumps(document) + "\n")


def _measure(name: str, given: argparse.Namespace) -> dict[str, object]:
    found = environment()
    if name == SCANNING:
        with checked_out(given.base) as (base,), held(given.lock):
            return {"environment": found, "base": base.commit, **scan_report(base)}
    ablation = ABLATIONS[name]
    with checked_out(given.base, given.variant or ablation.variant) as trees:
        ours, rival = take_turns(ablation.measure, trees, given.rounds, given.lock)
        base, variant = trees
        return {
            "environment": found,
            "base": base.commit,
            "variant": variant.commit,
            "lines": changed_lines(base, variant),
            "compared": compare(ours, rival),
            "rounds": {"ours": ours, "rival": rival},
        }


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description="Compare pieces of the product with libraries.")
    parser.add_argument("--only", nargs="+", choices=[*ABLATIONS, SCANNING], help="default: all")
    parser.add_argument("--base", default=BASE, help="the commit that has the piece")
    parser.add_argument("--variant", help="the commit that has the library, of the one piece asked")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--lock", type=Path, help="held in each round: other jobs' too, if shared")
    parser.add_argument("--output", type=Path, help="write the JSON document there too")
    return parser


if __name__ == "__main__":
    main()
