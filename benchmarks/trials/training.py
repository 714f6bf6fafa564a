"""One small training, killed, cut off from its disk or from its reader, and what is left of it."""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

from models.bundle import load_bundle
from training.trainer.run.checkpoint import load_checkpoint

FOLDNORM = (sys.executable, "-c", "from training.cli.entry import main; main()")
# What `foldnorm export` does, with 500 test images in place of 10,000 and one round of run times.
EXPORT = """
import sys
from pathlib import Path
from training.data.cifar10 import Split, load_test_split
from training.release.release import release
from training.trainer.run.checkpoint import load_checkpoint
checkpoint, data_dir, output = map(Path, sys.argv[1:])
test = load_test_split(data_dir)
test = Split(test.images[:500], test.labels[:500])
release(load_checkpoint(checkpoint), "1.0.0", test, output, latency_rounds=1)
"""
RECIPE = "keras-bn"
IMAGES = {"data.images": 1_000, "data.held_out": 100, "data.test_images": 200, "batch_size": 50}
EPOCHS = 5
DISK_MB = 64
WAIT_S = 120.0


class TrainingTrials:
    """One small run, disturbed again and again."""

    def __init__(self, data_dir: Path, work: Path, seed: int) -> None:
        """Train it once undisturbed, which also says how long it takes."""
        self.data_dir, self.work = data_dir, work
        self.draws = random.Random(seed)  # noqa: S311 - draws moments
        started = time.monotonic()
        self._finish(work / "whole")
        self.seconds = time.monotonic() - started
        self.weights = load_checkpoint(work / "whole" / "checkpoint.pt").network

    def start(self, folder: Path, **options: object) -> subprocess.Popen[str]:
        """Start or go on with the run in a folder."""
        command = [*FOLDNORM, "train", RECIPE, "--data-dir", str(self.data_dir), "--threads", "1"]
        command += ["--epochs", str(EPOCHS), "--run-dir", str(folder), "--device", "cpu"]
        for key, value in IMAGES.items():
            command += ["--set", f"{key}={value}"]
        if (folder / "checkpoint.pt").exists():
            command.append("--resume")
        return _start(command, **options)

    def _finish(self, folder: Path) -> None:
        process = self.start(folder)
        said, _ = process.communicate(timeout=WAIT_S)
        if process.returncode:
            raise RuntimeError(f"the run in {folder} cannot be gone on with: {said}")

    def judge(self, folder: Path) -> Iterator[str]:
        """Yield what holds of a disturbed folder, and go on with its run to the end."""
        if (folder / "checkpoint.pt").exists():
            state = load_checkpoint(folder / "checkpoint.pt")
            inside = "inside an epoch" if state.progress.step else f"{state.progress.epoch} epochs"
            yield f"left {inside}"
        else:
            yield "left nothing"
        self._finish(folder)
        yield "resumed to the end"
        ended = load_checkpoint(folder / "checkpoint.pt").network
        if all(torch.equal(value, ended[name]) for name, value in self.weights.items()):
            yield "weights bit-identical"

    def kill(
        self, count: int, wait: Callable[[Path, subprocess.Popen[str]], None], name: str
    ) -> Counter[str]:
        """Kill a run at a moment; every second one is killed once more after it went on."""
        seen: Counter[str] = Counter()
        for number in range(count):
            folder = self.work / f"{name}-{number - number % 2}"
            process = self.start(folder)
            wait(folder, process)
            seen["kills"] += process.poll() is None
            process.kill()
            process.communicate()
            if number % 2 or number + 1 == count:
                seen.update(self.judge(folder))
                seen["runs"] += 1
                shutil.rmtree(folder)
            elif (folder / "checkpoint.pt").exists():
                load_checkpoint(folder / "checkpoint.pt")  # whole, and its sums right
        return seen

    def any_moment(self, _folder: Path, _process: subprocess.Popen[str]) -> None:
        """Wait for a moment anywhere in a run."""
        time.sleep(self.draws.uniform(0, self.seconds))

    def writing(self, folder: Path, process: subprocess.Popen[str]) -> None:
        """Wait until a checkpoint is being written, the one of a random epoch."""
        self._appears(process, folder / ".checkpoint.pt.partial", _present, 0.0005)

    def epoch_end(self, folder: Path, process: subprocess.Popen[str]) -> None:
        """Wait until the curve of a random epoch is there, just before its checkpoint."""
        self._appears(process, folder / "history.jsonl", _written, 0.003)

    def _appears(
        self,
        process: subprocess.Popen[str],
        path: Path,
        look: Callable[[Path], int | None],
        then_s: float,
    ) -> None:
        """Wait until a file is there anew for the first or second time, and a moment more."""
        last, wanted = look(path), self.draws.randint(1, 2)
        while wanted and process.poll() is None:
            found = look(path)
            wanted -= found is not None and found != last
            last = found
        time.sleep(self.draws.uniform(0, then_s))

    def export(self, count: int) -> Counter[str]:
        """Kill exports, then let one through."""
        seen: Counter[str] = Counter()
        checkpoint, folder = self.work / "whole" / "checkpoint.pt", self.work / "artifacts"
        paths = map(str, (checkpoint, self.data_dir, folder))
        command = [sys.executable, "-c", EXPORT, *paths]
        made = self.work / "artifacts" / f"{RECIPE}-1.0.0"
        started = time.monotonic()
        _through(command)
        seconds = time.monotonic() - started
        for _ in range(count):
            shutil.rmtree(made, ignore_errors=True)
            process = _start(command)
            time.sleep(self.draws.uniform(0, seconds))
            seen["kills"] += process.poll() is None
            process.kill()
            process.communicate()
            if made.exists():
                load_bundle(made).verify()
                seen["complete"] += 1
            else:
                seen["nothing of that name"] += 1
        shutil.rmtree(made, ignore_errors=True)
        _through(command)
        load_bundle(made).verify()
        seen["exported afterwards, nothing left beside it"] += len(list(made.parent.iterdir())) == 1
        return seen

    def disk(self, count: int) -> Counter[str]:
        """Fill the disk at a moment; make room again, or kill the run first."""
        seen: Counter[str] = Counter()
        for number in range(count):
            with _small_disk(self.work / "disk") as disk:
                folder, filler = disk / "run", disk / "filler"
                process = self.start(folder)
                self.any_moment(folder, process)
                before = _epochs(folder)
                _fill(filler)
                time.sleep(self.seconds / 2)
                killed = number % 2
                if killed:
                    process.kill()
                filler.unlink()
                said, _ = process.communicate(timeout=WAIT_S)
                seen["trials"] += 1
                seen["a save failed and was reported"] += "cannot save the run" in said
                seen["nothing finished was lost"] += _epochs(folder) >= before
                seen["ended by itself"] += process.returncode == 0
                seen.update(self.judge(folder))
        return seen

    def pipe(self, count: int) -> Counter[str]:
        """Close the reading end of the output at a moment."""
        seen: Counter[str] = Counter()
        for number in range(count):
            folder = self.work / f"pipe-{number}"
            process = self.start(folder, stderr=subprocess.PIPE)
            self.any_moment(folder, process)
            before = _epochs(folder)
            assert process.stdout is not None
            assert process.stderr is not None
            process.stdout.close()
            said = process.stderr.read()
            process.stderr.close()
            seen["trials"] += 1
            seen["ended with an error"] += process.wait(WAIT_S) == 1
            seen["... that names the epoch as saved"] += "is saved in" in said
            seen["nothing finished was lost"] += _epochs(folder) >= before
            seen.update(self.judge(folder))
            shutil.rmtree(folder)
        return seen


def _start(command: list[str], **options: object) -> subprocess.Popen[str]:
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, **options}
    alone = os.environ | {"OMP_NUM_THREADS": "1"}
    return subprocess.Popen(command, env=alone, text=True, **pipes)  # type: ignore[call-overload,no-any-return]


def _through(command: list[str]) -> None:
    process = _start(command)
    said, _ = process.communicate(timeout=5 * WAIT_S)
    if process.returncode:
        raise RuntimeError(said)


def _epochs(folder: Path) -> int:
    path = folder / "checkpoint.pt"
    return load_checkpoint(path).progress.epoch if path.exists() else 0


def _present(path: Path) -> int | None:
    return 1 if path.exists() else None


def _written(path: Path) -> int | None:
    """Return when the file was written; it is replaced whole, so that is once an epoch."""
    try:
        return path.stat().st_mtime_ns
    except OSError:
        return None


@contextmanager
def _small_disk(path: Path) -> Iterator[Path]:
    path.mkdir(exist_ok=True)
    mount = ["mount", "-t", "tmpfs", "-o", f"size={DISK_MB}m", "tmpfs", str(path)]
    subprocess.run(mount, check=True)
    try:
        yield path
    finally:
        subprocess.run(["umount", "--lazy", str(path)], check=True)  # noqa: S607


def _fill(path: Path) -> None:
    """Take all the room there is."""
    with path.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(1 << 16))
        except OSError:
            return
