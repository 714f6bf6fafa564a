"""`foldnorm fold` as a user runs it, on the network that ships."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from typer.testing import CliRunner

from training.cli import fold as command
from training.cli.app import app

ROOT = Path(__file__).resolve().parents[3]
UNFOLDED = ROOT / "models" / "artifacts" / "keras-bn-1.1.0" / "model.unfolded.onnx"


def foldnorm(*arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "training.cli.app", *map(str, arguments)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def operators(path: Path) -> list[str]:
    return [node.op_type for node in onnx.load(path).graph.node]


def test_the_released_network_is_folded_proved_and_written(tmp_path: Path) -> None:
    output, report = tmp_path / "folded.onnx", tmp_path / "report.json"
    result = foldnorm("fold", UNFOLDED, "-o", output, "--json", report)
    assert result.returncode == 0, result.stderr
    assert "the proof holds" in result.stdout
    assert "batch norms: 6 before, 0 after" in result.stdout
    assert "BatchNormalization" in operators(UNFOLDED)
    assert not {"BatchNormalization", "Div"} & set(operators(output))
    document = json.loads(report.read_text())
    assert (document["schema"], document["folded"]) == (1, str(output))
    assert [row["kind"] for row in document["layers"]].count("batch norm") == 6
    assert all(row["relative_error"] < 1e-5 for row in document["layers"])
    assert document["proof"]["holds"]
    assert document["proof"]["algebra"]["ratio"] < 1


def test_folding_what_was_folded_is_fine_and_finds_nothing(tmp_path: Path) -> None:
    once, twice = tmp_path / "once.onnx", tmp_path / "twice.onnx"
    assert foldnorm("fold", UNFOLDED, "-o", once).returncode == 0
    result = foldnorm("fold", once, "-o", twice)
    assert result.returncode == 0
    assert "batch norms: 0 before, 0 after" in result.stdout
    assert operators(once) == operators(twice)


def test_a_fold_that_cannot_be_proved_is_not_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The algebra is broken on purpose: every shift is forgotten."""
    from training.folding.algebra.linear_map import LinearMap

    absorb = LinearMap.absorb_backward
    monkeypatch.setattr(
        LinearMap, "absorb_backward", lambda self, map_: absorb(self, map_.without_shift())
    )
    output, report = tmp_path / "folded.onnx", tmp_path / "report.json"
    result = CliRunner().invoke(
        app, ["fold", str(UNFOLDED), "-o", str(output), "--json", str(report)]
    )
    assert getattr(result.exception, "exit_code", None) == 3
    assert not output.exists()
    document = json.loads(report.read_text())
    assert document["folded"] is None
    assert not document["proof"]["holds"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("nowhere.onnx", "-o", "out.onnx"), "no such file"),
        (("broken.onnx", "-o", "out.onnx"), "export the network again"),
        (("model.onnx", "-o", "model.onnx", "--force"), "is the model itself"),
        (("model.onnx", "-o", "taken.onnx"), "--force"),
        (("model.onnx", "-o", "no/folder/out.onnx"), "no such folder"),
        (("model.onnx", "-o", "out.onnx", "--data", "bad.npy"), "written with numpy|write it with"),
    ],
)
def test_bad_input_is_one_line_and_loses_nothing(
    tmp_path: Path, arguments: tuple[str, ...], words: str
) -> None:
    (tmp_path / "model.onnx").write_bytes(UNFOLDED.read_bytes())
    for name in ("broken.onnx", "taken.onnx", "bad.npy"):
        (tmp_path / name).write_bytes(b"something else")
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    given = [str(tmp_path / one) if "." in one else one for one in arguments]
    result = foldnorm("fold", *given)
    assert result.returncode == 2
    assert result.stdout == ""
    assert len(result.stderr.splitlines()) == 1
    assert any(word in result.stderr for word in words.split("|"))
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_own_inputs_join_the_proof(tmp_path: Path) -> None:
    images = np.random.default_rng(0).integers(0, 256, (3, 32, 32, 3), dtype=np.uint8)
    np.savez(tmp_path / "data.npz", image=images)
    result = foldnorm(
        "fold", UNFOLDED, "-o", tmp_path / "o.onnx", "--data", tmp_path / "data.npz", "--json", "-"
    )
    document = json.loads(result.stdout)
    plain = foldnorm("fold", UNFOLDED, "-o", tmp_path / "p.onnx", "--json", "-")
    judged = json.loads(plain.stdout)["proof"]["judged"]
    assert document["proof"]["judged"] == judged + len(onnx.load(UNFOLDED).graph.output)


def test_folding_needs_no_torch() -> None:
    code = (
        "import sys; sys.modules['torch'] = None; import training.cli.fold; "
        "print('torch' in {n.split('.')[0] for n in sys.modules if sys.modules[n] is not None})"
    )
    result = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert result.stdout == "False\n", result.stderr
    assert command.fold.__doc__
