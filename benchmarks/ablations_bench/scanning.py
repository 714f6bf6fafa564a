"""What the scan for training mode refuses that golden logits and independence let through."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks.ablations_bench.suspects import suspects
from benchmarks.rig.bodies import real_images
from benchmarks.serving_systems import served_artifact

if TYPE_CHECKING:
    from benchmarks.ablations_bench.trees import Tree

CHECK = Path(__file__).with_name("scan_check.py")
MANY = 64
HARMFUL = 1e-3  # of scale, by which a neighbour changes an answer; rounding is below 1e-5


def scan_report(tree: Tree) -> dict[str, object]:
    """Return every check's verdict of every suspect, and the files that only the scan refuses."""
    with tempfile.TemporaryDirectory() as folder:
        _write(Path(folder))
        run = subprocess.run(
            [sys.executable, "-P", str(CHECK), folder, str(tree.folder / "models" / "artifacts")],
            env={**os.environ, "PYTHONPATH": str(tree.folder)},
            check=True,
            stdout=subprocess.PIPE,
            text=True,
        )
    found: dict[str, Any] = json.loads(run.stdout.splitlines()[-1])
    passed = [one for one in found["suspects"] if one.get("all_but_scan") == "passes"]
    return {
        **found,
        "refused_by_the_scan_alone": [one["name"] for one in passed if one["scan"] != "passes"],
        "of_these_harmful": [
            one["name"]
            for one in passed
            if one["scan"] != "passes" and one["change_in_64"] > HARMFUL
        ],
        "harmful_and_let_through_by_all": [
            one["name"]
            for one in passed
            if one["scan"] == "passes" and one["change_in_64"] > HARMFUL
        ],
    }


def _write(folder: Path) -> None:
    listed = suspects()
    for number, suspect in enumerate(listed):
        (folder / f"{number}.onnx").write_bytes(suspect.graph.SerializeToString())
    records = [
        {key: getattr(one, key) for key in ("name", "golden", "tolerance", "same_image")}
        for one in listed
    ]
    (folder / "suspects.json").write_text(json.dumps(records), encoding="utf-8")
    with np.load(served_artifact() / "golden.npz") as golden:
        np.savez(
            folder / "images.npz",
            golden=golden["images"],
            logits=golden["logits"],
            many=real_images()[:MANY],
        )
