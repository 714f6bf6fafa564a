"""The real `kserve` client against a real server.

It brings some hundred packages in versions of its own, so it has an environment of its own, made
once and kept in pytest's cache.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import venv
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from models.bundle import load_catalogue
from tests.v2_server import serving

pytestmark = pytest.mark.systems  # the client needs an environment of its own, from the index
KSERVE = "kserve==0.21.0"
INSTALL_SECONDS = 900
SCRIPT_SECONDS = 120

# Runs in the other environment: nothing of this project is there.
SCRIPT = """
import asyncio, json, sys
import numpy as np
from kserve import InferenceRESTClient, InferInput, InferRequest, RESTConfig
from kserve.protocol.infer_type import RequestedOutput

url, path = sys.argv[1:]
images = np.load(path)


def request(binary_input, binary_output):
    tensor = InferInput("image", list(images.shape), "UINT8")
    tensor.set_data_from_numpy(images, binary_data=binary_input)
    asked = RequestedOutput("logits", {"binary_data": binary_output})
    return InferRequest("keras-bn", [tensor], request_id="mine", request_outputs=[asked])


async def failure(call):
    try:
        await call
    except Exception as error:
        return type(error).__name__ + ": " + str(error)


async def main():
    found = {}
    async with InferenceRESTClient(RESTConfig(protocol="v2", timeout=60)) as client:
        found["live"] = await client.is_server_live(url)
        found["ready"] = await client.is_server_ready(url)
        found["model_ready"] = await client.is_model_ready(url, "keras-bn")
        found["nobody_ready"] = await client.is_model_ready(url, "nobody")
        found["answers"] = []
        for binary_input in (True, False):
            for binary_output in (True, False):
                asked = request(binary_input, binary_output)
                answer = await client.infer(url, asked, model_name="keras-bn")
                (output,) = answer.outputs
                found["answers"].append({
                    "id": answer.id,
                    "model": answer.model_name,
                    "output": output.name,
                    "logits": np.asarray(output.as_numpy(), np.float32).tolist(),
                })
        found["error"] = await failure(
            client.infer(url, request(True, True), model_name="nobody")
        )
    print(json.dumps(found))


asyncio.run(main())
"""


@pytest.fixture(scope="module")
def python(request: pytest.FixtureRequest) -> Path:
    """The interpreter of an environment that has the client."""
    folder = request.config.cache.mkdir("kserve-environment")
    python = folder / ("Scripts" if os.name == "nt" else "bin") / "python"
    installed = folder / f"{KSERVE}-python{sys.version_info.major}.{sys.version_info.minor}"
    if not installed.exists():
        venv.create(folder, clear=True, with_pip=True)
        result = subprocess.run(
            [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", KSERVE],
            capture_output=True,
            text=True,
            timeout=INSTALL_SECONDS,
            check=False,
        )
        if result.returncode:
            reason = (result.stderr.strip().splitlines() or ["pip said nothing"])[-1]
            pytest.skip(f"{KSERVE} cannot be installed, is PyPI in reach? {reason}")
        installed.touch()
    return python


@pytest.fixture(scope="module")
def images(released_artifacts: Path) -> NDArray[np.uint8]:
    bundle = next(one for one in load_catalogue(released_artifacts) if one.name == "keras-bn")
    return np.ascontiguousarray(bundle.read_golden().images)


@pytest.fixture(scope="module")
def found(
    python: Path,
    released_artifacts: Path,
    images: NDArray[np.uint8],
    tmp_path_factory: pytest.TempPathFactory,
) -> dict[str, Any]:
    """What the client's calls gave."""
    folder = tmp_path_factory.mktemp("kserve")
    np.save(folder / "images.npy", images)
    (folder / "script.py").write_text(SCRIPT, encoding="utf-8")
    with serving(released_artifacts, folder) as url:
        result = subprocess.run(
            [python, folder / "script.py", url, folder / "images.npy"],
            capture_output=True,
            text=True,
            timeout=SCRIPT_SECONDS,
            check=False,
        )
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout.splitlines()[-1])


def test_the_client_finds_the_server_and_the_model_ready(found: dict[str, Any]) -> None:
    assert (found["live"], found["ready"], found["model_ready"]) == (True, True, True)
    assert found["nobody_ready"] is False


def test_json_and_binary_give_the_logits_of_the_network(
    found: dict[str, Any], released_artifacts: Path
) -> None:
    bundle = next(one for one in load_catalogue(released_artifacts) if one.name == "keras-bn")
    golden = bundle.read_golden().logits
    # The golden tolerance that service.inference.startup_checks derives.
    tolerance = 6.2e-5 * np.abs(golden).max()
    assert len(found["answers"]) == 4
    for answer in found["answers"]:
        said = (answer["id"], answer["model"], answer["output"])
        assert said == ("mine", "keras-bn", "logits")
        logits = np.array(answer["logits"], np.float32).reshape(golden.shape)
        assert np.abs(logits - golden).max() <= tolerance
        assert np.abs(logits - golden[::-1]).max() > 100 * tolerance


def test_an_error_arrives_with_its_message(found: dict[str, Any]) -> None:
    assert found["error"].startswith("HTTPStatusError: no model 'nobody' is served")
    assert "'404 Not Found'" in found["error"]
