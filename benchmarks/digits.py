"""scikit-learn's digits as a folder of PNGs: trained, exported, served, and predicted, timed.

    python -m benchmarks.digits

Every step is the command that a user would write, on one thread: batches this small gain nothing
from two. The 1,797 images of 8 by 8 grey levels from 0 to 16 are the test set of "Optical
Recognition of Handwritten Digits" (E. Alpaydin and C. Kaynak, 1998, UCI Machine Learning
Repository, CC BY 4.0), as `sklearn.datasets.load_digits` has them. The last line is JSON.
"""

from __future__ import annotations

import argparse
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

ROOT = Path(__file__).resolve().parents[1]
DIGITS = ROOT / "tests" / "fixtures" / "digits.npz"
RECIPE = Path(__file__).with_suffix(".toml")
FOLDNORM = (sys.executable, "-m", "training.cli.app")
SERVE = (sys.executable, "-m", "service")
SECONDS = 60  # until a server answers


def write_digits(folder: Path, most: int | None = None) -> Path:
    """Write the digits as grey PNGs, one folder a class; `most` of each class."""
    with np.load(DIGITS) as arrays:
        images, labels = arrays["images"], arrays["labels"]  # (N, 8, 8) uint8 to 16, (N,)
    for digit in range(10):
        (folder / str(digit)).mkdir(parents=True)
        for index in np.flatnonzero(labels == digit)[:most]:
            grey = np.round(images[index] * (255 / 16)).astype(np.uint8)
            Image.fromarray(grey).save(folder / str(digit) / f"{index:04}.png")
    return folder


def run_path(folder: Path, *options: str) -> dict[str, Any]:
    """Train, export and serve on `folder`/digits; return what came of it.

    `options` are further ones of `foldnorm train`.
    """
    data = ("--data-dir", "digits", "--threads", "1")
    seconds = {}
    train = ("train", str(RECIPE), *data, "--run-dir", "run", *options)
    for step, command in (("train", train), ("export", ("export", "run", *data, "-o", "served"))):
        started = time.perf_counter()
        subprocess.run([*FOLDNORM, *command], cwd=folder, env=_environment(), check=True)
        seconds[step] = round(time.perf_counter() - started, 1)
    manifest = json.loads((folder / "served/digits-1.0.0/manifest.json").read_text("utf-8"))
    started = time.perf_counter()
    answers = _predictions(folder, [folder / "digits" / str(k) for k in range(10)])
    seconds["serve"] = round(time.perf_counter() - started, 1)
    test = manifest["metrics"]["test"]
    return {
        "accuracy": test["accuracy"],
        "test_images": test["images"],
        "input": manifest["input"]["shape"],
        "served_right": sum(answer == str(k) for k, answer in enumerate(answers)),
        "seconds": seconds,
    }


def _environment(**variables: str) -> dict[str, str]:
    path = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH", ""))))
    return {**os.environ, "PYTHONPATH": path, **variables}


def _predictions(folder: Path, classes: list[Path]) -> list[str]:
    """Serve the artifact, and return the label of the first PNG of each class folder."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    settings = {"FOLDNORM_ARTIFACTS": str(folder / "served"), "FOLDNORM_PORT": str(port)}
    url = f"http://127.0.0.1:{port}"
    server = subprocess.Popen(
        SERVE, cwd=folder, env=_environment(**settings), stdout=subprocess.DEVNULL
    )
    try:
        _wait_until_ready(url, server)
        return [_predict(url, sorted(one.iterdir())[0]) for one in classes]
    finally:
        server.terminate()
        server.wait()


def _wait_until_ready(url: str, server: subprocess.Popen[bytes]) -> None:
    until = time.monotonic() + SECONDS
    while True:
        try:
            with urllib.request.urlopen(f"{url}/health/ready"):
                return
        except (urllib.error.URLError, ConnectionError):
            if server.poll() is not None or time.monotonic() > until:
                raise
            time.sleep(0.1)


def _predict(url: str, file: Path) -> str:
    headers = {"content-type": "image/png"}
    request = urllib.request.Request(f"{url}/v1/predict", file.read_bytes(), headers)
    with urllib.request.urlopen(request) as answer:
        return str(json.load(answer)["predictions"][0]["label"])


def main() -> None:
    """Run it in a temporary folder."""
    argparse.ArgumentParser(description=__doc__.splitlines()[0]).parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        started = time.perf_counter()
        write_digits(Path(temporary) / "digits")
        found = run_path(Path(temporary))
        found["seconds"]["all"] = round(time.perf_counter() - started, 1)
    print(json.dumps(found))  # noqa: T201


if __name__ == "__main__":
    main()
