"""The six commands of docs/own-network.md as they are written, with small networks of our own."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from PIL import Image

from tests.onnx_models import Builder
from tests.processes import LoggedProcess

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "own-network.md"
BIN = Path(sys.executable).parent
TIMM = """
    import torch


    class Network(torch.nn.Module):
        pretrained_cfg = {
            "input_size": (3, 24, 24),
            "crop_pct": 0.875,
            "interpolation": "bicubic",
            "mean": (0.5, 0.4, 0.3),
            "std": (0.25, 0.25, 0.5),
        }

        def __init__(self, classes):
            super().__init__()
            self.conv = torch.nn.Conv2d(3, 8, 3, padding=1, bias=False)
            self.bn = torch.nn.BatchNorm2d(8)
            self.head = torch.nn.Linear(8, classes)

        def forward(self, x):
            return self.head(self.bn(self.conv(x)).relu().mean((2, 3)))


    def create_model(name, pretrained, num_classes, checkpoint_path):
        assert name == "resnet18" and not pretrained
        network = Network(num_classes)
        network.load_state_dict(torch.load(checkpoint_path))
        return network
"""


def commands() -> list[str]:
    block = PAGE.read_text(encoding="utf-8").split("\n\n")[2]
    return [line.partition("#")[0].strip() for line in block.splitlines()]


def keras_like() -> onnx.ModelProto:
    """Channels last, the batch norm spelled out, a softmax at the end: as Keras exports it."""
    build = Builder(("batch", 64, 64, 3))
    build.add("Transpose", perm=[0, 3, 1, 2])
    build.conv(3, 8, pads=[1, 1, 1, 1])
    build.add("Transpose", perm=[0, 2, 3, 1])
    for kind in ("Sub", "Mul", "Add"):
        build.add(kind, build.last, build.random(f"{kind}_of_norm", 8))
    build.add("Relu")
    build.add("ReduceMean", axes=[1, 2], keepdims=0)
    build.add("MatMul", build.last, build.random("dense", 8, 3))
    build.add("Softmax")
    return build.proto(opset=17)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """What the reader has: two networks, their labels and a photograph."""
    (tmp_path / "labels.txt").write_text("cat\ndog\nship\n")
    (tmp_path / "timm.py").write_text(textwrap.dedent(TIMM))
    namespace: dict[str, object] = {}
    exec(textwrap.dedent(TIMM), namespace)
    torch.manual_seed(0)
    torch.save(namespace["Network"](3).state_dict(), tmp_path / "mine.pth")  # type: ignore[operator]
    onnx.save(keras_like(), tmp_path / "theirs.onnx")
    Image.open(ROOT / "docs" / "images" / "ship.png").convert("RGB").save(tmp_path / "photo.jpg")
    return tmp_path


def test_the_page_s_commands_lead_to_a_comparison_of_two_own_networks(folder: Path) -> None:
    install, first, export, second, serve, ask = commands()
    assert install.startswith("pip install 'foldnorm[train]' timm")
    assert export == "python export_keras.py"
    environment = {**os.environ, "PYTHONPATH": f"{folder}{os.pathsep}{ROOT}"}
    for command in (first, second):
        words = shlex.split(command)
        words[0] = str(BIN / words[0])
        made = subprocess.run(
            [*words, "--rounds", "1"],
            cwd=folder,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert made.returncode == 0, made.stderr
        assert "the proof holds" in made.stdout
    words = shlex.split(serve)
    server = LoggedProcess([str(BIN / words[0]), *words[1:], "--port", "0"], folder)
    try:
        url = server.wait_for("serving")["url"]
        answer = subprocess.run(
            ["curl", "-sS", *shlex.split(ask.replace("http://127.0.0.1:8000", url))[1:]],
            cwd=folder,
            capture_output=True,
            text=True,
            check=True,
        )
    finally:
        server.close()
    compared = json.loads(answer.stdout)
    assert [one["model"]["name"] for one in compared["models"]] == ["mine", "theirs"]
    for one in compared["models"]:
        top = one["predictions"][0]["top"]
        assert {label["label"] for label in top} == {"cat", "dog", "ship"}
        assert np.isclose(sum(label["probability"] for label in top), 1, atol=1e-5)
    (image,) = compared["images"]
    assert image["agree"] in (True, False)
    assert 0 <= image["js_divergence"] <= 1
