"""The results as the tables of docs/folding.md, between its markers."""

from __future__ import annotations

from typing import Any

from benchmarks.rig.pages import markdown_table, with_blocks

SIGNS = {"folded": "✓", "kept": "–", "wrong": "**wrong**", "error": "error", "export": "n/a"}
SHORT = {
    "torch.fx fuse": "fx",
    "torch.ao fuse_fx": "ao",
    "torch exporter, traced": "exporter, traced",
    "torch exporter": "exporter",
    "Foldnorm, ONNX": "**Foldnorm**, ONNX",
    "Foldnorm, ONNX, --clone": "… `--clone`",
    "Foldnorm, torch": "**Foldnorm**, torch",
}
LEVELS = ("ORT_DISABLE_ALL", "ORT_ENABLE_ALL")


def with_tables(page: str, results: dict[str, Any]) -> str:
    """Return the page with the tables that these results give."""
    tables = {
        "patterns": patterns_table(results["patterns"]),
        "networks": networks_table(results["networks"]),
        "times": times_table(results["networks"]),
        "versions": ", ".join(f"{k} {v}" for k, v in results["environment"]["versions"].items()),
    }
    return with_blocks(page, tables)


def patterns_table(patterns: list[dict[str, Any]]) -> str:
    """Return what each tool makes of each pattern."""
    tools = [cell["tool"] for cell in patterns[0]["cells"]]
    rows = [["pattern", "exact", *(SHORT.get(tool, tool) for tool in tools)]]
    for one in patterns:
        exact = ("yes" if one["exact"] else "no") + (f": {one['note']}" if one["note"] else "")
        rows.append([one["pattern"], exact, *(_sign(cell) for cell in one["cells"])])
    return markdown_table(rows)


def _sign(cell: dict[str, Any]) -> str:
    if cell["state"] == "partly":
        return f"{cell['left']} of {cell['of']} left"
    return SIGNS[cell["state"]]


def networks_table(networks: list[dict[str, Any]]) -> str:
    """Return how many batch norms each tool leaves of each network, and our verdict."""
    tools = [tool["tool"] for tool in networks[0]["tools"]]
    rows = [["network", "exporter", *tools, "error, of the scale", "proof"]]
    for one in networks:
        if "failure" in one:
            rows.append([one["network"], one["exporter"], one["failure"]])
            continue
        ours = next(tool for tool in one["tools"] if tool["tool"] == "Foldnorm")
        rows.append(
            [
                one["network"],
                one["exporter"],
                *(_left(tool) for tool in one["tools"]),
                f"{ours['error']:.1e}",
                "holds" if one["proof_holds"] else "FAILS",
            ]
        )
    return markdown_table(rows)


def _left(tool: dict[str, Any]) -> str:
    if tool["failure"]:
        return "error"
    return f"**wrong**, {tool['norms']}" if tool["wrong"] else str(tool["norms"])


def times_table(networks: list[dict[str, Any]]) -> str:
    """Return medians of run times, unfolded and as each tool leaves the graph."""
    timed = [one for one in networks if one["exporter"] == "default" and "tools" in one]
    tools = [tool["tool"] for tool in timed[0]["tools"]]
    rows = [["network", "onnxruntime", *tools]]
    for one in timed:
        for level in LEVELS:
            times = [tool["median_ms"].get(level) for tool in one["tools"]]
            cells = ["error" if time is None else f"{time:.1f}" for time in times]
            rows.append([one["network"], f"`{level}`", *cells])
    return markdown_table(rows)
