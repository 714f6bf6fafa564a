"""README's commands, run as they are written: only the port and the folders are the test's own."""

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import numpy as np
import pytest

from models.bundle import load_bundle

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
ARTIFACTS = ROOT / "models" / "artifacts"
BIN = Path(sys.executable).parent


def commands(heading):
    """Return the lines of the bash blocks under a heading."""
    section = README.split(f"\n## {heading}\n")[1].split("\n## ")[0]
    blocks = re.findall(r"```bash\n(.*?)```", section, flags=re.DOTALL)
    return [line for block in blocks for line in block.splitlines()]


def of(program, lines):
    return [line for line in lines if line.startswith(program)]


def test_every_command_of_the_readme_is_run_by_a_test_below():
    known = ("make serve", "make install", ". .venv", "curl ", "docker ", "foldnorm ")
    tried = commands("Serve") + commands("Fold") + commands("Train")
    assert [line for line in tried if not line.startswith(known)] == []
    every = README.count("```bash")
    first, *_ = re.findall(r"```bash\n(.*?)```", README, flags=re.DOTALL)
    assert set(first.replace("first.onnx", "folded.onnx").splitlines()) <= set(tried)
    headings = README.split("\n## Serve\n")[1].split("\n## What the experiment")[0]
    assert every == 1 + headings.count("```bash")


def test_the_python_example_runs_as_it_is_written():
    (example,) = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)
    result = subprocess.run(
        [sys.executable, "-c", example], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr
    assert "label='frog'" in result.stdout
    assert "6 folded, 0 kept" in result.stdout
    assert "the proof holds" in result.stdout


def test_every_file_that_the_readme_names_exists():
    links = re.findall(r"\]\((?!http)([^)#]+)\)", README)
    assert len(links) >= 6
    assert [link for link in links if not (ROOT / link).exists()] == []
    tree = README.split("## The tree")[1].split("\n[")[0]
    names, folder = [], ""
    for line in tree.splitlines():
        entry = re.match(r"    (  )?(\S+) ", line)
        if entry:
            folder = folder if entry[1] else entry[2]
            names.append(folder + entry[2] if entry[1] else entry[2])
    assert len(names) > 15
    assert [name for name in names if not (ROOT / name).exists()] == []


def test_make_install_and_the_activation_name_the_same_environment():
    dry_run = subprocess.run(
        ["make", "--dry-run", "--always-make", "install"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert ".venv/bin/python -m pip" in dry_run.stdout
    assert ". .venv/bin/activate" in commands("Train")


@pytest.fixture(scope="module")
def port():
    """Run `make serve` on a free port, and hold it to a clean end."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        number = probe.getsockname()[1]
    environment = {**os.environ, "FOLDNORM_PORT": str(number)}
    # What runs the tests is installed already: -o keeps make from installing it again.
    server = subprocess.Popen(
        ["make", "-o", f"{sys.prefix}/.serve", f"VENV={sys.prefix}", "serve"],
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    try:
        wait_until_ready(server, number)
        yield number
    finally:
        os.killpg(server.pid, signal.SIGTERM)
        server.communicate(timeout=30)


def wait_until_ready(server, number, seconds=60):
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if server.poll() is not None:
            pytest.fail(f"make serve ended: {server.stdout.read().decode()}")
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{number}/health/ready", timeout=5):
                return
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            time.sleep(0.1)
    pytest.fail(f"make serve was not ready within {seconds} s")


@pytest.mark.skipif(not shutil.which("curl"), reason="curl is not installed")
@pytest.mark.parametrize("command", of("curl", commands("Serve")))
def test_a_curl_command_is_answered(command, port):
    line = command.replace("127.0.0.1:8000", f"127.0.0.1:{port}")
    line = line.replace("curl -s", "curl --fail-with-body --max-time 60 -s")
    answer = subprocess.run(line, shell=True, cwd=ROOT, capture_output=True, check=False)
    assert answer.returncode == 0, answer.stdout
    if "/metrics" in command:
        assert b"foldnorm_" in answer.stdout
    elif "predict" in command:
        predictions = json.loads(answer.stdout)["predictions"]
        labels = [prediction["label"] for prediction in predictions]
        assert labels == re.findall(r"docs/images/(\w+)\.png", command)
    else:
        assert json.loads(answer.stdout)


@pytest.mark.parametrize("command", of("foldnorm", commands("Serve")))
def test_a_client_command_is_answered(command, port):
    _, *arguments = command.replace("127.0.0.1:8000", f"127.0.0.1:{port}").split()
    answer = subprocess.run(
        [BIN / "foldnorm", *arguments], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert answer.returncode == 0, answer.stderr
    if "predict" in command:
        assert "frog" in answer.stdout
        assert "ship" in answer.stdout


def test_a_fold_is_proved_and_verified(tmp_path):
    (tmp_path / "models").symlink_to(ROOT / "models")
    for command in commands("Fold"):
        result = run(command, tmp_path)
        assert result.returncode == 0, result.stderr
        assert "the proof holds" in result.stdout
    assert (tmp_path / "folded.onnx").exists()


def has_docker():
    probe = shutil.which("docker") and subprocess.run(
        ["docker", "info"], capture_output=True, check=False
    )
    return bool(probe) and probe.returncode == 0


@pytest.mark.skipif(not has_docker(), reason="no Docker engine answers here")
def test_the_image_is_built():
    (build,) = of("docker build", commands("Serve"))
    subprocess.run(build, shell=True, cwd=ROOT, check=True, timeout=1800)


@pytest.fixture(scope="module")
def reader_folder(data_dir, tmp_path_factory):
    """A folder as a reader has it after `make install`: the sources' artifacts, and the dataset."""
    folder = tmp_path_factory.mktemp("readme")
    (folder / "data").symlink_to(data_dir.resolve())
    (folder / "models").mkdir()
    shutil.copytree(ARTIFACTS, folder / "models" / "artifacts")
    return folder


def run(command, folder, seconds=600):
    environment = {**os.environ, "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}"}
    return subprocess.run(
        command.split(),
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=seconds,
        check=False,
    )


@pytest.mark.systems
class TestTraining:
    """The commands under Train, in their order and in one folder."""

    def test_fetch_finds_a_complete_dataset_and_leaves_it(self, reader_folder):
        (fetch,) = of("foldnorm fetch", commands("Train"))
        result = run(fetch, reader_folder)
        assert result.returncode == 0, result.stderr

    def test_train_starts_and_stops_on_ctrl_c(self, reader_folder):
        train = of("foldnorm train keras-bn", commands("Train"))[0]
        process = subprocess.Popen(
            [BIN / "foldnorm", *train.split()[1:], "--threads", "1"],
            cwd=reader_folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        checkpoint = reader_folder / "runs" / "keras-bn-seed7" / "checkpoint.pt"
        interrupt_once_it_trains(process)
        _, errors = process.communicate(timeout=120)
        assert process.returncode == 130, errors
        assert "--resume" in errors
        assert checkpoint.is_file()

    def test_the_smoke_run_learns(self, reader_folder):
        (train,) = of("foldnorm train smoke", commands("Train"))
        result = run(train, reader_folder)
        assert result.returncode == 0, result.stderr
        outcome = json.loads((reader_folder / "runs/smoke-seed7/outcome.json").read_text())
        assert outcome["single_view_accuracy"] >= 0.7  # it was 79 % where it was measured

    def test_air94_starts_and_stops_on_ctrl_c(self, reader_folder):
        (train,) = of("foldnorm train air94", commands("Train"))
        process = subprocess.Popen(
            [BIN / "foldnorm", *train.split()[1:]],
            cwd=reader_folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        interrupt_once_it_trains(process)
        _, errors = process.communicate(timeout=120)
        assert process.returncode == 130, errors
        assert (reader_folder / "runs/air94-seed7/checkpoint.pt").is_file()

    def test_export_releases_the_run(self, reader_folder):
        restore_run(reader_folder, "keras-bn")
        (export,) = of("foldnorm export", commands("Train"))
        result = run(export, reader_folder)
        assert result.returncode == 0, result.stderr
        released, exported = (
            load_bundle(reader_folder / "models/artifacts" / name)
            for name in ("keras-bn-1.1.0", "keras-bn-1.2.0")
        )
        assert released.manifest.measured.test.correct == exported.manifest.measured.test.correct
        golden, again = released.read_golden(), exported.read_golden()
        assert np.array_equal(golden.images, again.images)
        # Another processor sums in another order, in float64.
        assert np.abs(golden.logits - again.logits).max() <= 1e-12 * np.abs(golden.logits).max()

    def test_quantize_adds_the_int8_graph_that_is_released(self, reader_folder):
        (quantize,) = of("foldnorm quantize", commands("Train"))
        result = run(quantize, reader_folder)
        assert result.returncode == 0, result.stderr
        released, made = (
            json.loads((reader_folder / "models/artifacts" / name / "manifest.json").read_text())
            for name in ("keras-bn-1.1.0", "keras-bn-1.3.0")
        )
        stated, found = (
            manifest["quantization"]["effect"]["test"]["correct"] for manifest in (released, made)
        )
        # Ranges are measured in float32, whose last bits are the machine's; a few labels follow.
        assert abs(stated - found) <= 10

    @pytest.mark.parametrize(
        "command",
        of("foldnorm verify", commands("Train")) + of("foldnorm evaluate", commands("Train")),
    )
    def test_what_is_released_is_proved_and_measured_again(self, command, reader_folder):
        result = run(command, reader_folder)
        assert result.returncode == 0, result.stderr
        if "verify" in command:
            assert "the proof holds" in result.stdout

    def test_report_draws_the_figures(self, reader_folder):
        result = run("foldnorm report", reader_folder)
        assert result.returncode == 0, result.stderr
        figures = {path.name for path in (reader_folder / "docs" / "figures").iterdir()}
        assert figures == {"accuracy.svg", "loss.svg", "results.md"}


def interrupt_once_it_trains(process):
    """Send Ctrl-C; before its handler stands the process would end without a checkpoint."""
    deadline = time.monotonic() + 60
    status = Path(f"/proc/{process.pid}/status")
    while time.monotonic() < deadline and process.poll() is None:
        caught = int(re.search(r"SigCgt:\s*(\w+)", status.read_text())[1], 16)
        if caught >> (signal.SIGTERM - 1) & 1:  # Python itself catches SIGINT, we SIGTERM as well
            break
        time.sleep(0.2)
    process.send_signal(signal.SIGINT)


def restore_run(folder, name):
    """Put the released network where the run of the same recipe would have left it."""
    from models.bundle import load_bundle
    from training.trainer.run.checkpoint import Checkpoint, Progress, save_checkpoint
    from training.trainer.run.run_directory import RunDirectory
    from training.trainer.run.saved_networks import network_from_artifact

    bundle = load_bundle(ARTIFACTS / f"{name}-1.1.0")
    provenance = bundle.manifest.provenance
    history = bundle.read_history()
    save_checkpoint(
        Checkpoint(
            recipe=provenance.recipe,
            seed=provenance.seed,
            progress=Progress(epoch=len(history)),
            network=network_from_artifact(bundle).state_dict(),
            optimizer={},
            history=[record.to_dict() for record in history],
            sessions=list(provenance.sessions),
        ),
        RunDirectory(folder / "runs" / f"{name}-seed{provenance.seed}").checkpoint_file,
    )
