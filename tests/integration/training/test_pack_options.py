"""What `foldnorm pack` is told by a file, and what it shows before anything is packed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from PIL import Image
from typer.testing import CliRunner

from models.bundle import load_bundle
from models.preprocessing import preprocess
from models.tensors import ImageSpec
from tests.onnx_models import Builder
from training.cli.app import app
from training.errors import DataError

SIZE = (8, 12)


@pytest.fixture
def network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A classifier of three classes, its labels beside it, in the folder that commands run in."""
    build = Builder(("N", 3, *SIZE))
    build.conv(3, 4)
    build.norm(4)
    build.add("GlobalAveragePool")
    build.add("Flatten")
    build.add("Gemm", build.last, build.random("dense", 4, 3), build.random("shift", 3))
    onnx.save(build.proto(), tmp_path / "net.onnx")
    (tmp_path / "labels.txt").write_text("a\nb\nc\n")
    monkeypatch.chdir(tmp_path)
    return tmp_path / "net.onnx"


def run(*arguments: str) -> str:
    result = CliRunner().invoke(app, ["pack", *arguments], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


def config(text: str) -> str:
    Path("pack.toml").write_text(text)
    return "pack.toml"


def test_a_file_gives_options_and_the_command_line_wins(network: Path) -> None:
    file = config(
        'name = "net"\nlabels = "labels.txt"\nrounds = 1\nmean = [1, 2.5, 3]\nstd = 255\n'
        'version = "2.0.0"\ninterpolation = "bicubic"\n'
    )
    run("net.onnx", "--config", file, "--std", "128")
    manifest = load_bundle(Path("artifacts/net-2.0.0")).manifest
    assert manifest.packed is not None
    assert "minus 1, 2.5, 3, divided by 128" in manifest.packed.pixels
    assert manifest.input.interpolation == "bicubic"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('nmae = "net"', "unknown key 'nmae'; known: channels, checkpoint, data, "),
        ("mean = { red = 1 }", "mean is a table"),
        ("mean = ", "as TOML"),
        ("rounds = 0", "should be greater than or equal to 1"),
    ],
)
def test_a_file_at_fault_is_refused_in_a_line(network: Path, text: str, says: str) -> None:
    file = config(f'labels = "labels.txt"\n{text}\n')
    arguments = ["pack", "net.onnx", "--name", "net", "--config", file]
    result = CliRunner().invoke(app, arguments, env={"COLUMNS": "400"})
    assert result.exit_code == 2
    assert says in result.output
    assert not Path("artifacts").exists()


def test_a_picture_shows_what_the_network_takes_and_nothing_is_packed(network: Path) -> None:
    noise = np.random.default_rng(2).integers(0, 256, (40, 60, 3), np.uint8)
    Image.fromarray(noise).save("photo.png")
    said = run(
        *("net.onnx", "--name", "net", "--labels", "labels.txt", "--resize", "20"),
        *("--std", "255", "--channels", "BGR", "--explain", "photo.png"),
    )
    lines = said.splitlines()
    assert [line.split()[0] for line in lines] == [
        *("file", "resize", "crop", "graph", "scores", "wrote")
    ]
    assert "the shorter side to 20 pixels; bilinear filter" in lines[1]
    assert "the central 8 by 12 pixels" in lines[2]
    assert "blue before red, minus 0, divided by 255, channels first" in lines[3]
    assert "3 classes" in lines[4]
    assert not Path("artifacts").exists()
    spec = ImageSpec(
        *("image", "uint8", ("N", *SIZE, 3)),
        resize="shortest-side",
        resize_to=(20,),
        interpolation="bilinear",
        transparency="ignored",
    )
    taken = preprocess(Image.fromarray(noise), spec)
    shown = np.asarray(Image.open("photo.net.png"))
    right = shown[: round(448 * 8 / 12), -448:]  # the shown part has its proportions
    assert shown.shape[1] == 448 + 16 + 448
    assert np.array_equal(right[18, 18], taken[0, 0])
    assert np.array_equal(right[-18, -18], taken[-1, -1])


def test_what_is_no_picture_is_refused(network: Path) -> None:
    Path("photo.png").write_bytes(b"no picture")
    arguments = ["net.onnx", "--name", "net", "--labels", "labels.txt", "--explain", "photo.png"]
    with pytest.raises(DataError, match=r"cannot decode photo\.png"):
        run(*arguments)
