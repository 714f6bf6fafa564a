"""The client's commands against a real `foldnorm-serve` with the networks that ship."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.v2_server import serving

ROOT = Path(__file__).resolve().parents[3]
BIN = Path(sys.executable).parent
SHORT = ("--duration", "1", "--warmup", "0.2")


@pytest.fixture(scope="module")
def url(released_artifacts, tmp_path_factory):
    with serving(released_artifacts, tmp_path_factory.mktemp("serve")) as url:
        yield url


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """100 images of the test set, one file each."""
    folder = tmp_path_factory.mktemp("images")
    with np.load(ROOT / "tests" / "fixtures" / "cifar10-test-100.npz") as fixture:
        for index, image in enumerate(fixture["images"]):
            Image.fromarray(image).save(folder / f"{index:03}.png")
    return folder


def foldnorm(*arguments, stdin=None):
    return subprocess.run(
        [BIN / "foldnorm", *map(str, arguments)],
        cwd=ROOT,
        capture_output=True,
        stdin=stdin,
        timeout=300,
        check=False,
        env=os.environ | {"COLUMNS": "200"},
    )


def bench(*arguments):
    result = foldnorm("bench", *arguments, *SHORT, "--json", "-")
    assert result.returncode == 0, result.stderr
    (step,) = json.loads(result.stdout)["steps"]
    return step


def test_predict_classifies_files_and_standard_input(url):
    with (ROOT / "docs" / "images" / "ship.png").open("rb") as ship:
        result = foldnorm(
            "predict", "docs/images/frog.png", "-", "--url", url, "--json", stdin=ship
        )
    assert result.returncode == 0, result.stderr
    rows = [json.loads(line) for line in result.stdout.splitlines()]
    assert [(row["file"], row["label"]) for row in rows] == [
        ("docs/images/frog.png", "frog"),
        ("-", "ship"),
    ]


def test_predict_sends_a_folder_in_several_requests_and_keeps_the_order(url, folder):
    rows = foldnorm("predict", folder, "--url", url, "--json").stdout.splitlines()
    files = [json.loads(line)["file"] for line in rows]
    assert files == [str(folder / f"{index:03}.png") for index in range(100)]


def test_predict_names_the_bad_file_and_classifies_the_rest(url, folder, tmp_path):
    shutil.copy(folder / "000.png", tmp_path)
    (tmp_path / "001.png").write_bytes(b"no image")
    shutil.copy(folder / "002.png", tmp_path)
    result = foldnorm("predict", tmp_path, "--url", url)
    assert result.returncode == 2
    assert f"{tmp_path}/001.png: the 8 bytes are no image".encode() in result.stderr
    assert b"000.png" in result.stdout
    assert b"002.png" in result.stdout


def test_an_unknown_model_is_named_with_those_that_are_served(url):
    result = foldnorm("predict", "docs/images/frog.png", "--url", url, "--model", "nope")
    assert result.returncode == 2
    served = result.stderr.decode().partition("served are ")[2].split(", ")
    assert {"keras-baseline", "keras-bn"} <= set(served)


def test_every_answer_under_load_is_its_images_own(url, folder):
    step = bench("--url", url, "--images", folder, "--rate", "60", "--verify")
    assert step["mismatches"] == 0
    assert step["counts"]["ok"] > 0


@pytest.mark.parametrize("form", [(), ("--pixels",)], ids=["files", "pixels"])
def test_the_second_protocol_answers_the_same_under_load(url, folder, form):
    options = ("--protocol", "v2", "--model", "keras-bn", "--batch", "8", *form)
    step = bench("--url", url, "--images", folder, "--connections", "2", "--verify", *options)
    assert (step["mismatches"], step["counts"]["other"]) == (0, {})
    assert step["goodput_images_per_s"] == pytest.approx(8 * step["goodput_per_s"])
