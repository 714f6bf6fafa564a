"""The benchmark of torch networks runs, on small ones that need no other package."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]


def test_a_quick_run_folds_and_proves_every_batch_norm(tmp_path: Path) -> None:
    output = tmp_path / "zoo.json"
    command = [sys.executable, "-m", "benchmarks.torch_zoo", "--quick", "--output", str(output)]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    totals = json.loads(result.stdout)
    assert totals == json.loads(output.read_text())["totals"]
    assert totals["norms"] == totals["folded"] == totals["folded_in_place"] == 10
    assert (totals["silent"], totals["wrong"], totals["wrong_in_place"]) == (0, 0, 0)
