"""The results of the ONNX zoos: totals, and the tables of docs/folding.md."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from typing import Any

import numpy as np

from benchmarks.rig.pages import markdown_table, with_blocks

Row = dict[str, Any]
NAME = re.compile(r"[_/0-9]|\w\.\w")
EXPORTERS = ("default", "traced")
PEERS = ("onnxscript", "onnxoptimizer", "onnxsim", "onnxslim")
LIMIT = 1.05  # of our run time over another graph's


def totals(rows: list[Row]) -> dict[str, Any]:
    """Return what became of all files together."""
    timed = [row for row in rows if row.get("times")]
    kept: Counter[str] = Counter()
    for row in rows:
        kept.update(row.get("kept", {}))
    return {
        "files": len(rows),
        "norms": [sum(row["norms"][place] for row in rows if "norms" in row) for place in (0, 1)],
        "kept": dict(kept.most_common()),
        "verdicts": dict(Counter(row.get("verdict", "").partition(":")[0] for row in rows)),
        "tracebacks": sum(row.get("traceback", False) for row in rows),
        "timed": len(timed),
        "slower": {row["file"]: found for row in timed if (found := slower(row))},
        "ratio": {
            name: _mean(row["times"]["ratio"][name] for row in timed if _has(row, name))
            for name in dict.fromkeys(name for row in timed for name in row["times"]["ratio"])
        },
    }


def counted_kinds(reasons: dict[str, int]) -> dict[str, int]:
    """Return how often each reason came, without the names of nodes and tensors."""
    kinds: Counter[str] = Counter()
    for reason, count in reasons.items():
        words = ("…" if NAME.search(word) else word for word in reason.split())
        kinds[" ".join(words)] += count
    return dict(kinds)


def slower(row: Row) -> list[str]:
    """Return the graphs than which ours is slower, beyond the limit and beyond chance."""
    ratios = row["times"]["ratio"]
    return [name for name, one in ratios.items() if one and one[0] > LIMIT and one[1] > 1]


def _has(row: Row, name: str) -> bool:
    return name in row["times"]["ratio"]


def _mean(ratios: Iterable[Any]) -> float:
    """Return the geometric mean of ratios; a graph that is the same counts as 1."""
    values = [1.0 if one is None else one[0] for one in ratios]
    return round(float(np.exp(np.mean(np.log(values)))), 3)


def with_zoo(page: str, results: dict[str, Any]) -> str:
    """Return the page with the tables that these results give."""
    rows = results["files"]
    return with_blocks(page, {"zoo": networks_table(rows), "zoo-kept": _kept_table(rows)})


def networks_table(rows: list[Row]) -> str:
    """Return a row for each network; what its two exports differ in is told for both."""
    by_network: dict[str, list[Row]] = {}
    for row in rows:
        by_network.setdefault(_network(row["file"]), []).append(row)
    titles = ["network or file", "batch norms", "proof", "seconds", "MiB", "to as is"]
    table = [[*titles, *(f"to {name}" for name in PEERS)]]
    for name, exports in sorted(by_network.items()):
        norms = (f"{row['norms'][0]} → {row['norms'][1]}" for row in exports if "norms" in row)
        table.append(
            [
                name,
                _both(norms),
                _both(row.get("verdict", "") for row in exports),
                _both(f"{row['seconds']:.0f}" for row in exports),
                _both(str(row["peak_mib"]) for row in exports),
                *(_both(_ratio(row, peer) for row in exports) for peer in ("as is", *PEERS)),
            ]
        )
    return markdown_table(table)


def _network(file: str) -> str:
    """Return a network's name, or where a file is in its package."""
    name, _, exporter = file.rpartition(".")
    if exporter in EXPORTERS:
        return name.replace("-", " ", 1)
    return f"{file.partition('/')[0]} `{file.rpartition('/')[2]}`"


def _both(cells: Iterable[str]) -> str:
    return ", ".join(dict.fromkeys(cells))


def _ratio(row: Row, name: str) -> str:
    """Return a ratio, `=` where both graphs are the same and `–` where there is none."""
    times = row.get("times")
    if not times or name not in times["ratio"]:
        return "–"
    one = times["ratio"][name]
    if one is None:
        return "="
    return f"**{one[0]:.2f}**" if name in slower(row) else f"{one[0]:.2f}"


def _kept_table(rows: list[Row]) -> str:
    kept = totals(rows)["kept"]
    return markdown_table(
        [["batch norms", "kept, because"], *([str(count), why] for why, count in kept.items())]
    )
