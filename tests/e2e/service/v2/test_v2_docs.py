"""The examples of docs/v2.md, run as they are written: only the port is the test's own."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from service.api.v2.application import build_v2

PAGE = (Path(__file__).resolve().parents[4] / "docs" / "v2.md").read_text(encoding="utf-8")
SECONDS = 60


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", PAGE, flags=re.DOTALL)


@pytest.fixture
def folder(
    tmp_path: Path, png: Callable[[NDArray[np.uint8]], bytes], images: NDArray[np.uint8]
) -> Path:
    (tmp_path / "cat.png").write_bytes(png(images[0]))
    return tmp_path


def run(command: list[str], folder: Path) -> str:
    return subprocess.run(
        command, cwd=folder, capture_output=True, text=True, timeout=SECONDS, check=True
    ).stdout


def test_the_curl_commands_are_answered(url: str, folder: Path) -> None:
    answers = []
    for block in blocks("bash"):
        script = block.replace("localhost:8000", url.removeprefix("http://"))
        for answer in run(["bash", "-ec", script.replace("\ncurl", "\necho\ncurl")], folder).split(
            "\n"
        ):
            answers += [json.loads(answer)] if answer else []
    assert len(answers) == 6
    assert not [answer for answer in answers if "error" in answer]
    labels, scores = answers[-2]["outputs"][0], answers[-1]["outputs"][1]
    assert labels["shape"] == [1, 3]
    best = labels["data"][0].split(":")
    assert scores["data"].index(max(scores["data"])) == int(best[1])


def test_the_python_example_runs(url: str, folder: Path) -> None:
    (code,) = blocks("python")
    code = code.replace("localhost:8000", url.removeprefix("http://"))
    output = run([sys.executable, "-c", code], folder)
    assert output.startswith("(2, 10)\n")
    assert output.count(":") == 6  # three labels of one image


def test_every_route_is_in_the_table() -> None:
    for route in build_v2(None).routes:
        path = route.path.replace("/versions/{version}", "").removesuffix("/") or "/v2"
        shortened = f"…/{path.rpartition('/')[2]}"
        assert f"{path}`" in PAGE or f"`{shortened}`" in PAGE, path
