"""`foldnorm doctor`: a healthy network has no finding, each fault has its own."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
import pytest
import torch
from onnx import helper
from torch import nn
from typer.testing import CliRunner

from tests.onnx_models import Builder
from tests.small_runs import random_images
from training.cli.app import app
from training.folding.doctor.measured import answer_findings
from training.folding.onnx_frontend import write_model

ROOT = Path(__file__).resolve().parents[3]
ARTIFACTS = ROOT / "models" / "artifacts"


def diagnosis(*arguments: object) -> tuple[int, dict[str, Any]]:
    result = CliRunner().invoke(app, ["doctor", *map(str, arguments), "--json"])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    document: dict[str, Any] = json.loads(result.stdout)
    return result.exit_code, document


def pair() -> Builder:
    builder = Builder((2, 3, 7, 8))
    builder.conv(3, 4)
    builder.norm(4, positive=True)
    return builder


def saved(builder: Builder, folder: Path) -> Path:
    path = folder / "model.onnx"
    write_model(ir.from_proto(builder.proto()), path)
    return path


def in_train_mode(builder: Builder) -> None:
    builder.nodes[-1].attribute.append(helper.make_attribute("training_mode", 1))
    builder.nodes[-1].output.extend(["mean_out", "var_out"])


def put(name: str, value: float, channel: int = 2) -> Callable[[Builder], None]:
    def change(builder: Builder) -> None:
        builder.constants[name][channel] = value

    return change


def fresh(builder: Builder) -> None:
    builder.constants["mean1"][:] = 0
    builder.constants["var1"][:] = 1


def between_rectifiers(builder: Builder) -> None:
    builder.nodes.insert(1, helper.make_node("Relu", ["conv0"], ["relu_in"], name="relu_in"))
    builder.nodes[-1].input[0] = "relu_in"
    builder.add("Relu")


Fault = Callable[[Builder], None]
FAULTS: list[tuple[str, Fault, int]] = [
    ("training_mode", in_train_mode, 3),
    ("never_updated", fresh, 1),
    ("broken_statistics", put("var1", -1.0), 3),
    ("broken_statistics", put("gamma1", np.nan), 3),
    ("tiny_variance", put("var1", 0.0), 1),
    ("dead_channels", put("gamma1", 0.0), 0),
    ("negative_gamma", put("gamma1", -1.0), 0),
    ("kept", between_rectifiers, 0),
]


def test_a_sound_batch_norm_has_no_finding(tmp_path: Path) -> None:
    code, found = diagnosis(saved(pair(), tmp_path))
    assert (code, found["findings"], found["batch_norms"]) == (0, [], 1)


@pytest.mark.parametrize("name", sorted(path.name for path in ARTIFACTS.glob("keras-bn-*")))
def test_what_ships_is_healthy(name: str) -> None:
    code, found = diagnosis(ARTIFACTS / name)
    assert code == 0
    assert found["batch_norms"] == 6
    assert found["healthy"]


@pytest.mark.parametrize(
    ("check", "fault", "expected"), FAULTS, ids=[f"{one[0]}{i}" for i, one in enumerate(FAULTS)]
)
def test_each_fault_is_found_with_its_layer_and_a_remedy(
    check: str, fault: Fault, expected: int, tmp_path: Path
) -> None:
    builder = pair()
    fault(builder)
    code, found = diagnosis(saved(builder, tmp_path))
    (finding,) = [one for one in found["findings"] if one["check"] == check]
    assert finding["layer"] == "norm1"
    assert finding["remedy"]
    assert code >= expected


def test_weights_of_torch_are_read_by_their_names(tmp_path: Path) -> None:
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))
    path = tmp_path / "weights.pt"
    torch.save(network.state_dict(), path)
    code, found = diagnosis(path)
    assert code == 3
    assert {(one["layer"], one["check"]) for one in found["findings"]} == {("1", "never_updated")}
    network.train()(torch.randn(8, 3, 9, 9))
    torch.save({"model": network.state_dict()}, path)
    code, found = diagnosis(path)
    assert (code, found["findings"]) == (0, [])


def test_a_pickle_that_is_more_than_weights_is_not_opened(tmp_path: Path) -> None:
    path = tmp_path / "network.pt"
    torch.save(nn.Linear(2, 2), path)
    result = CliRunner().invoke(app, ["doctor", str(path)])
    assert "save model.state_dict()" in str(result.exception)


@pytest.mark.parametrize("kind", ["onnx", "torch"])
def test_weights_that_are_no_numbers_are_an_error(kind, tmp_path):
    """As a training that diverged leaves them, also where there is no batch norm."""
    if kind == "onnx":
        builder = Builder((2, 3, 7, 8))
        builder.conv(3, 4)
        name = next(n for n, array in builder.constants.items() if array.ndim > 1)
        builder.constants[name].reshape(-1)[:2] = np.nan
        path = saved(builder, tmp_path)
    else:
        name, path = "0.weight", tmp_path / "weights.pt"
        layer = nn.Conv2d(3, 4, 3)
        torch.nn.init.constant_(layer.weight[0, 0, 0, :2], torch.inf)
        torch.save(nn.Sequential(layer).state_dict(), path)
    code, document = diagnosis(path)
    (found,) = document["findings"]
    assert (code, found["check"], found["layer"]) == (3, "not_finite", name)
    assert re.match(r"2 of \d+ weights are no finite numbers", found["found"])


def test_one_answer_for_every_image_is_an_error():
    images = random_images(20)
    network = nn.Sequential(nn.Flatten(), nn.Linear(3072, 10))
    assert answer_findings(network, images) == []
    with torch.no_grad():
        network[1].weight.zero_()
    (found,) = answer_findings(network, images)
    assert (found.severity, found.check) == ("error", "constant_answers")
    assert found.found == "the same answer for all of 20 test images"
