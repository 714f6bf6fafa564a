"""The command line as a process: its errors, and a run that is interrupted and resumed."""

import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

FOLDNORM = Path(sys.executable).parent / "foldnorm"


def run(*arguments, seconds=120):
    return subprocess.run(
        [FOLDNORM, *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=seconds,
        check=False,
    )


def test_help_lists_every_command():
    result = run("--help")
    assert result.returncode == 0
    for command in ("fetch", "train", "export", "verify", "evaluate", "report"):
        assert re.search(rf"\b{command}\b", result.stdout)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("train", "keras-nope", "--data-dir", "x"), "those that ship: keras-baseline, keras-bn"),
        (("train", "keras-bn", "--data-dir", "no-such"), "no cifar-10-batches-py/ in no-such"),
        (("train", "keras-bn", "--data-dir", "x", "--device", "abacus"), "try --device cpu"),
        (("verify", "no-such", "--data-dir", "x"), "cannot read no-such/manifest.json"),
        (("evaluate", "no-such.onnx", "--data-dir", "x"), "cannot read no-such.onnx"),
        (("export", "no-such", "--data-dir", "x"), "no checkpoint at no-such/checkpoint.pt"),
        (("report", "--artifacts", "no-such"), "no artefact in no-such"),
        (("fetch", "--data-dir", "/proc/none"), "cannot write to /proc/none"),
    ],
)
def test_an_error_is_one_line_and_exit_code_2(arguments, message, tmp_path):
    if arguments[0] == "train":
        arguments = (*arguments, "--run-dir", tmp_path / "run")
    result = run(*arguments)
    assert result.returncode == 2
    assert message in result.stderr
    assert len(result.stderr.splitlines()) == 1
    assert result.stderr.startswith("foldnorm: ")


def interrupted(*arguments):
    """Start a training, send Ctrl-C once it listens to it, and return what it said."""
    process = subprocess.Popen(
        [FOLDNORM, "train", *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    status = Path(f"/proc/{process.pid}/status")
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and process.poll() is None:
        caught = int(re.search(r"SigCgt:\s*(\w+)", status.read_text())[1], 16)
        if caught >> (signal.SIGTERM - 1) & 1:  # Python itself catches SIGINT, we SIGTERM as well
            break
        time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=120)
    return process.returncode, errors


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs Linux's /proc")
def test_ctrl_c_saves_and_says_how_to_go_on(data_dir, tmp_path):
    options = ("keras-bn", "--data-dir", data_dir, "--run-dir", tmp_path, "--threads", "1")
    code, said = interrupted(*options)
    assert code == 130
    assert re.search(r"stopped in epoch 1, step \d+; saved. To go on.*--resume", said)
    step = int(re.search(r"step (\d+)", said)[1])

    refused = run("train", *options)
    assert refused.returncode == 2
    assert "add --resume" in refused.stderr

    code, said = interrupted(*options, "--resume")
    assert code == 130
    assert int(re.search(r"step (\d+)", said)[1]) > step
