"""`foldnorm fold` as a user runs it, on the network that ships."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from typer.testing import CliRunner

from tests.onnx_networks import layer, network, norm
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


def small_model(path: Path, *, operator: str = "Relu", ir_version: int = 8) -> Path:
    """A convolution, a batch norm and an operator, with a free batch."""
    model = network(
        "(float[N,3,8,8] x) => (float[] y) "
        "{ c = Conv(x, w) p = BatchNormalization(c, gamma, beta, mean, var) "
        f"y = {operator}(p) }}",
        layer(4, 3, 3, 3) | norm(4),
        ir_version=ir_version,
    )
    onnx.save(ir.to_proto(model), path)
    return path


def test_a_file_without_batch_norms_stays_byte_for_byte(tmp_path: Path) -> None:
    """Single constants are no batch norm: what they belong to may be fused by a runtime."""
    model = network(
        "(float[N,6] x) => (float[] y) { p = MatMul(x, w) q = Mul(p, s) y = Relu(q) }",
        layer(6, 5) | layer(5, name="s"),
    )
    onnx.save(ir.to_proto(model), tmp_path / "model.onnx")
    (tmp_path / "there").mkdir()
    result = foldnorm("fold", tmp_path / "model.onnx", "-o", tmp_path / "there" / "same.onnx")
    assert result.returncode == 0, result.stderr
    assert "nothing to fold" in result.stdout
    same = (tmp_path / "there" / "same.onnx").read_bytes()
    assert same == (tmp_path / "model.onnx").read_bytes()


def test_weights_in_other_files_go_with_a_file_that_stays(tmp_path: Path) -> None:
    model = network("(float[N,6] x) => (float[] y) { p = MatMul(x, w) y = Relu(p) }", layer(6, 500))
    onnx.save(
        ir.to_proto(model),
        tmp_path / "model.onnx",
        save_as_external_data=True,
        location="weights.bin",
    )
    (tmp_path / "there").mkdir()
    output = tmp_path / "there" / "same.onnx"
    assert foldnorm("fold", tmp_path / "model.onnx", "-o", output).returncode == 0
    assert len(onnx.load(output).graph.initializer[0].raw_data) == 6 * 500 * 4


def test_what_cannot_be_tested_has_an_exit_code_of_its_own(tmp_path: Path) -> None:
    model = small_model(tmp_path / "model.onnx", operator="Unheard")
    output = tmp_path / "folded.onnx"
    result = foldnorm("fold", model, "-o", output)
    assert result.returncode == 4
    assert "could not be tested, nothing was written: onnxruntime cannot load" in result.stderr
    assert "--no-proof" in result.stderr
    assert not output.exists()
    assert foldnorm("verify", model, model).returncode == 4


def test_a_fold_without_a_proof_says_so_in_the_file(tmp_path: Path) -> None:
    model = small_model(tmp_path / "model.onnx")
    output = tmp_path / "folded.onnx"
    result = foldnorm("fold", model, "-o", output, "--no-proof", "--json", "-")
    assert result.returncode == 0, result.stderr
    assert json.loads(result.stdout)["proof"]["outcome"] == "none"
    properties = {one.key: one.value for one in onnx.load(output).metadata_props}
    assert properties == {"foldnorm.proof": "none (--no-proof)"}
    proved = tmp_path / "proved.onnx"
    assert foldnorm("fold", model, "-o", proved).returncode == 0
    assert not onnx.load(proved).metadata_props


def test_the_time_of_a_run_is_stated_before_and_after(tmp_path: Path) -> None:
    model = small_model(tmp_path / "model.onnx")
    result = foldnorm("fold", model, "-o", tmp_path / "o.onnx", "--measure", "--json", "-")
    measured = json.loads(result.stdout)["measured"]
    assert measured["original_ms"] > 0
    assert measured["folded_ms"] > 0
    assert measured["low"] <= measured["ratio"] <= measured["high"]


def test_initializers_that_are_inputs_are_constants_when_asked(tmp_path: Path) -> None:
    model = small_model(tmp_path / "model.onnx")
    proto = onnx.load(model)
    for one in proto.graph.initializer:
        proto.graph.input.append(
            onnx.helper.make_tensor_value_info(one.name, one.data_type, one.dims)
        )
    onnx.save(proto, model)
    kept = foldnorm("fold", model, "-o", tmp_path / "kept.onnx")
    assert kept.returncode == 0
    assert "batch norms: 1 before, 1 after" in kept.stdout
    examined = foldnorm("doctor", model, "--json")
    assert examined.returncode == 0, examined.stdout
    (finding,) = json.loads(examined.stdout)["findings"]
    assert "is an input as well" in finding["found"]
    options = ("--initializers-are-constants", "--json", "-")
    folded = foldnorm("fold", model, "-o", tmp_path / "folded.onnx", *options)
    assert json.loads(folded.stdout)["batch_norms_after"] == 0
    assert [one.name for one in onnx.load(tmp_path / "folded.onnx").graph.input] == ["x"]


def test_an_invalid_fold_is_said_to_be_our_fault(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The writer is broken on purpose: a node reads what nobody makes."""
    from training.folding.onnx_frontend.write_back import Writer

    write = Writer.write

    def broken(self: Writer) -> None:
        write(self)
        self.native[-1].replace_input_with(0, ir.Value(name="nowhere"))

    monkeypatch.setattr(Writer, "write", broken)
    model = small_model(tmp_path / "model.onnx")
    command = ["fold", str(model), "-o", str(tmp_path / "folded.onnx"), "--no-proof"]
    result = CliRunner().invoke(app, command)
    assert not (tmp_path / "folded.onnx").exists()
    assert "a fault of Foldnorm and not of the model" in str(result.exception)
    assert getattr(result.exception, "exit_code", None) == 1


@pytest.mark.parametrize(
    ("size", "words"),
    [("H", "give NAME=VALUE"), ("D=3", "free sizes are N, x.0"), ("N=0", "each is at least 1")],
)
def test_a_size_that_the_model_has_not_is_named(tmp_path: Path, size: str, words: str) -> None:
    model = small_model(tmp_path / "model.onnx")
    result = foldnorm("fold", model, "-o", tmp_path / "o.onnx", "--size", size)
    assert result.returncode == 2
    assert words in " ".join(result.stderr.split())
