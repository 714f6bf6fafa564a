"""The command line: its errors, and a run that is interrupted and resumed."""

import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from typer.testing import CliRunner

from training.cli.app import app
from training.cli.commands import EXTRAS
from training.cli.entry import main

CLASSES = Path(__file__).parent / "hundred-classes.toml"  # refused before data is looked for
FOLDNORM = (sys.executable, "-m", "training.cli.app")


def test_help_lists_every_command():
    result = CliRunner().invoke(app, ["--help"])
    assert result.exit_code == 0
    for command in EXTRAS:
        assert re.search(rf"\b{command}\b", result.stdout)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("train", "keras-nope", "--data-dir", "x"), "those that ship: air-tiny, air94, air95"),
        (("train", "keras-bn", "--data-dir", "no-such"), "no cifar-10-batches-py/ in no-such"),
        (("train", "keras-bn", "--data-dir", "x", "--device", "abacus"), "try --device cpu"),
        (("verify", "no-such", "--data-dir", "x"), "cannot read no-such/manifest.json"),
        (("quantize", "no-such", "--data-dir", "x"), "cannot read no-such/manifest.json"),
        (("evaluate", "no-such.onnx", "--data-dir", "x"), "cannot read no-such.onnx"),
        (("export", "no-such", "--data-dir", "x"), "no checkpoint at no-such/checkpoint.pt"),
        (("export", "no-such", "--data-dir", "x", "--best"), "keeps no best epoch"),
        (
            ("train", "keras-bn", "--data-dir", "x", "--initialize-from", "no-such"),
            "no checkpoint at no-such",
        ),
        (("report", "no-such"), "no-such holds neither an artifact (manifest.json), nor"),
        (("train", str(CLASSES), "--data-dir", "x"), "write num_classes = 10 in the network's"),
        (("train", "no-such.toml", "--data-dir", "x"), "no recipe 'no-such.toml'"),
        (("train", "keras-bn", "--data-dir", "x", "--resume"), "start the run without --resume"),
        (("fetch", "--data-dir", "/proc/none"), "cannot write to /proc/none"),
        (("fetch", "--data-dir", "x", "--archive", "no-such"), "cannot read no-such"),
        (("fetch", "--data-dir", "x", "--url", "file:///etc/passwd"), "give an http or https"),
    ],
)
def test_an_error_is_one_line_and_exit_code_2(arguments, message, tmp_path, monkeypatch, capsys):
    if arguments[0] == "train":
        arguments = (*arguments, "--run-dir", str(tmp_path / "run"))
    monkeypatch.setattr(sys, "argv", ["foldnorm", *arguments])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("foldnorm: ")
    assert message in line


def interrupted(*arguments):
    """Start a training, send Ctrl-C once it listens to it, and return what it said."""
    process = subprocess.Popen(
        [*FOLDNORM, "train", *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[3],
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

    code, said = interrupted(*options, "--resume")
    assert code == 130
    assert int(re.search(r"step (\d+)", said)[1]) > step
