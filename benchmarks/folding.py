"""Folding next to other tools: a table of patterns, and whole networks.

    python -m benchmarks.folding [--only patterns|networks] [--networks NAME,…]
        [--output benchmarks/results/folding.json] [--docs]

Runs in the environment of the other tools (see README.md). `--docs` writes the tables of
docs/folding.md from the results that are there and measures nothing.
"""

from __future__ import annotations

import argparse
import json
import logging
import sys
import warnings
from dataclasses import asdict
from importlib import metadata
from pathlib import Path
from typing import Any

from benchmarks.folding_bench.tables import with_tables
from benchmarks.rig.environment import describe_machine

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results" / "folding.json"
PAGE = ROOT / "docs" / "folding.md"


def main() -> None:
    """Measure, or write the page."""
    arguments = _arguments()
    if arguments.docs:
        results = json.loads(arguments.output.read_text(encoding="utf-8"))
        PAGE.write_text(with_tables(PAGE.read_text(encoding="utf-8"), results), encoding="utf-8")
        return
    logging.disable(logging.CRITICAL)
    warnings.simplefilter("ignore")
    results = {"benchmark": "folding", "environment": _environment()}
    if arguments.only != "networks":
        results["patterns"] = _patterns()
    if arguments.only != "patterns":
        results["networks"] = _networks(arguments.networks)
    arguments.output.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("--only", choices=("patterns", "networks"))
    parser.add_argument("--networks", type=lambda text: text.split(","), default=[])
    parser.add_argument("--output", type=Path, default=RESULTS)
    parser.add_argument("--docs", action="store_true")
    return parser.parse_args()


def _environment() -> dict[str, Any]:
    from benchmarks.folding_bench.tools import TOOLS

    packages = sorted({tool.package for tool in TOOLS} - {"foldnorm"} | {"onnx", "onnx-ir"})
    return describe_machine() | {
        "versions": {package: metadata.version(package) for package in packages}
    }


def _patterns() -> list[dict[str, Any]]:
    from benchmarks.folding_bench.cells import all_cells
    from benchmarks.folding_bench.patterns import PATTERNS

    rows = [
        {"pattern": one.name, "exact": one.exact, "note": one.note, "cells": []} for one in PATTERNS
    ]
    by_name: dict[object, Any] = {row["pattern"]: row["cells"] for row in rows}
    for cell in all_cells():
        by_name[cell.pattern].append(asdict(cell))
        sys.stderr.write(f"{cell.pattern:40} {cell.tool:26} {cell.state} {cell.detail}\n")
    return rows


def _networks(wanted: list[str]) -> list[dict[str, Any]]:
    from benchmarks.folding_bench.networks import NETWORKS
    from benchmarks.folding_bench.whole import EXPORTERS, Whole, measured

    rows = []
    for network in NETWORKS:
        for exporter in EXPORTERS if not wanted or network.name in wanted else ():
            whole = measured(network, exporter, timed=exporter == "default")
            known = asdict(whole) if isinstance(whole, Whole) else {"failure": whole}
            rows.append({"network": network.name, "exporter": exporter} | known)
            sys.stderr.write(f"{network.name} {exporter}\n")
    return rows


if __name__ == "__main__":
    main()
