"""Shows graphs to the start-up checks of the tree on PYTHONPATH: `python -P scan_check.py FOLDER`.

FOLDER has `suspects.json`, a list of names, sources of golden logits and tolerances, `N.onnx` for
each, and `images.npz`: golden images with the released logits, and the images of a large batch. The
hash is not asked: whoever makes a file by mistake has its hash right. The last line of stdout is
one JSON document.
"""

from __future__ import annotations

import importlib
import json
import statistics
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

MODULES = {  # where the tree has what is checked here
    "scan": "service.graph_scan",
    "proofs": "service.proofs",
    "session": "service.session",
    "providers": "service.providers",
    "errors": "service.errors",
    "bundle": "models.bundle",
}
REPEATS = 7


def main() -> None:
    """Print what each check says of each graph, and what the scan costs."""
    folder = Path(sys.argv[1])
    listed = json.loads((folder / "suspects.json").read_text(encoding="utf-8"))
    with np.load(folder / "images.npz") as arrays:
        images = {name: arrays[name] for name in arrays.files}
    found = [_look(folder / f"{n}.onnx", one, images) for n, one in enumerate(listed)]
    sys.stdout.write(json.dumps({"suspects": found, "cost": _costs(Path(sys.argv[2]))}) + "\n")


def _module(name: str) -> Any:
    return importlib.import_module(MODULES[name])


def _look(path: Path, suspect: dict[str, Any], images: dict[str, Any]) -> dict[str, object]:
    graph = path.read_bytes()
    found: dict[str, object] = {"name": suspect["name"]}
    found["scan"] = _verdict(lambda: _module("proofs").check_graph(graph))
    try:
        session = _session(graph)
        golden = _golden(session, suspect, images)
    except Exception as error:  # onnxruntime's own, of many kinds
        return found | {"loads": str(error)[:160]}
    found["loads"] = "passes"
    found["golden"] = _verdict(lambda: _module("proofs").check_golden(session, golden))
    found["all_but_scan"] = _verdict(lambda: _module("proofs").prove_answers(session, golden))
    found["change_in_64"] = _change(session, images["many"])
    return found


def _session(graph: bytes) -> Any:
    provider = _module("providers").choose_provider("off")
    return _module("session").OrtSession(graph, provider=provider, optimization="enable_all")


def _golden(session: Any, suspect: dict[str, Any], images: dict[str, Any]) -> Any:
    chosen = images["golden"]
    if suspect["same_image"]:
        chosen = np.repeat(chosen[:1], len(chosen), axis=0)
    logits = images["logits"]
    if suspect["golden"] == "together":
        logits = session.run(chosen).logits.astype(np.float64)
    if suspect["golden"] == "alone":
        alone = [session.run(image[None]).logits for image in chosen]
        logits = np.concatenate(alone).astype(np.float64)
    tolerance = suspect["tolerance"]
    stated = None if tolerance is None else tolerance * float(np.abs(logits).max())
    return _module("bundle").Golden(chosen, logits, stated)


def _verdict(check: Any) -> str:
    try:
        check()
    except _module("errors").ModelRefusedError as refusal:
        return str(refusal)[:160]
    return "passes"


def _change(session: Any, images: Any) -> float:
    """Return by how much an image's logits change in a batch of 64 real ones, in parts of scale."""
    alone = np.concatenate([session.run(image[None]).logits for image in images])
    among = session.run(images).logits
    return float(np.abs(alone - among).max() / np.abs(alone).max())


def _costs(artifacts: Path) -> list[dict[str, object]]:
    return [_cost(path) for path in sorted(artifacts.glob("*/*.onnx"))]


def _cost(path: Path) -> dict[str, object]:
    graph = path.read_bytes()
    scan_ms = [_ms(lambda: _module("proofs").check_graph(graph)) for _ in range(REPEATS)]
    load_ms = [_ms(lambda: _session(graph)) for _ in range(REPEATS)]
    return {
        "file": f"{path.parent.name}/{path.name}",
        "bytes": len(graph),
        "scan_ms": round(statistics.median(scan_ms), 3),
        "session_ms": round(statistics.median(load_ms), 3),
    }


def _ms(do: Any) -> float:
    started = time.perf_counter()
    do()
    return (time.perf_counter() - started) * 1000


if __name__ == "__main__":
    main()
