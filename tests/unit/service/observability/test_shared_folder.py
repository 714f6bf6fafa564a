from __future__ import annotations

import fcntl
import os
import subprocess
import sys
from pathlib import Path

import pytest

from service.observability.shared_folder import (
    LOCK,
    PREFIX,
    VARIABLE,
    forget_gauges,
    remove_leftovers,
    shared_metrics,
)

ROOT = Path(__file__).resolve().parents[4]
COUNT = """
import os, sys
from service.observability.shared_folder import count_as
from service.observability.prometheus import ServiceMetrics
count_as(int(sys.argv[1]))
metrics = ServiceMetrics()
metrics.images.labels("m", "1.0.0").inc(int(sys.argv[2]))
metrics.stages.labels("m", "1.0.0", "run").observe(0.25)
metrics.sample()
sys.stdout.write(metrics.render().decode())
sys.stdout.flush()
os.kill(os.getpid(), 9)  # no process of the service is ever asked to tidy up
"""


@pytest.fixture(autouse=True)
def _tmp(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.delenv(VARIABLE, raising=False)


def count(folder: Path, slot: int, images: int) -> list[str]:
    """The samples that a process shows which counted images in a slot, and was killed."""
    done = subprocess.run(
        [sys.executable, "-c", COUNT, str(slot), str(images)],
        cwd=ROOT,
        env=os.environ | {VARIABLE: str(folder)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (-9, "")
    return [line for line in done.stdout.splitlines() if not line.startswith("#")]


def test_the_folder_is_there_for_the_processes_and_gone_afterwards(tmp_path: Path) -> None:
    with shared_metrics() as folder:
        assert os.environ[VARIABLE] == str(folder)
        assert folder.parent == tmp_path
    assert VARIABLE not in os.environ
    assert not list(tmp_path.iterdir())


def test_the_folder_of_a_killed_service_is_removed_by_the_next_one(tmp_path: Path) -> None:
    leftover = tmp_path / f"{PREFIX}leftover"
    leftover.mkdir()
    for name in (LOCK, "counter_1.db"):
        (leftover / name).write_bytes(b"")
    with shared_metrics():
        assert not leftover.exists()


def test_a_folder_that_is_in_use_and_one_of_others_are_left_alone(tmp_path: Path) -> None:
    with shared_metrics() as folder:
        other = tmp_path / f"{PREFIX}without-lock"
        other.mkdir()
        remove_leftovers(tmp_path)
        assert folder.exists()
        assert other.exists()


def test_a_folder_stays_while_one_process_of_its_service_lives(tmp_path: Path) -> None:
    folder = tmp_path / f"{PREFIX}orphan"
    folder.mkdir()
    with (folder / LOCK).open("wb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        heir = subprocess.Popen(["sleep", "60"], pass_fds=[lock.fileno()])
    try:
        remove_leftovers(tmp_path)
        assert folder.exists()
    finally:
        heir.kill()
        heir.wait()
    remove_leftovers(tmp_path)
    assert not folder.exists()


def test_counting_goes_on_where_the_last_process_of_a_slot_was_killed(tmp_path: Path) -> None:
    folder = tmp_path / "metrics"
    folder.mkdir()
    count(folder, 1, 3)
    files = sorted(folder.iterdir())
    samples = count(folder, 1, 4)
    assert 'foldnorm_images_total{model="m",version="1.0.0"} 7.0' in samples
    assert any(
        line.startswith("foldnorm_stage_seconds_count{") and line.endswith(" 2.0")
        for line in samples
    )
    assert sorted(folder.iterdir()) == files


def test_slots_are_summed_and_the_gauges_of_an_empty_one_are_not(tmp_path: Path) -> None:
    folder = tmp_path / "metrics"
    folder.mkdir()
    count(folder, 1, 3)
    assert "foldnorm_workers 2.0" in count(folder, 2, 4)
    forget_gauges(folder, 1)
    samples = count(folder, 2, 0)
    assert "foldnorm_workers 1.0" in samples
    assert 'foldnorm_images_total{model="m",version="1.0.0"} 7.0' in samples
