from __future__ import annotations

import math
import os
from pathlib import Path

import pytest

from service.system import available_cpus, cgroup_quota


@pytest.fixture
def groups(tmp_path: Path) -> Path:
    """A process in the group /pod/app of control groups v2, and /box of v1."""
    (tmp_path / "self").write_text("4:cpu,cpuacct:/box\n0::/pod/app\n", encoding="ascii")
    (tmp_path / "fs" / "pod" / "app").mkdir(parents=True)
    (tmp_path / "fs" / "cpu" / "box").mkdir(parents=True)
    return tmp_path


def quota(groups: Path) -> float:
    return cgroup_quota(groups / "fs", groups / "self")


def test_no_quota_is_no_limit(groups: Path) -> None:
    (groups / "fs" / "pod" / "cpu.max").write_text("max 100000\n", encoding="ascii")
    (groups / "fs" / "cpu" / "box" / "cpu.cfs_quota_us").write_text("-1\n", encoding="ascii")
    (groups / "fs" / "cpu" / "box" / "cpu.cfs_period_us").write_text("100000\n", encoding="ascii")
    assert math.inf == quota(groups)


def test_the_tightest_group_of_version_2_decides(groups: Path) -> None:
    (groups / "fs" / "pod" / "cpu.max").write_text("150000 100000\n", encoding="ascii")
    (groups / "fs" / "pod" / "app" / "cpu.max").write_text("400000 100000\n", encoding="ascii")
    assert quota(groups) == 1.5


def test_a_quota_of_version_1_counts(groups: Path) -> None:
    (groups / "fs" / "cpu" / "box" / "cpu.cfs_quota_us").write_text("50000\n", encoding="ascii")
    (groups / "fs" / "cpu" / "box" / "cpu.cfs_period_us").write_text("100000\n", encoding="ascii")
    assert quota(groups) == 0.5


def test_a_part_of_a_cpu_is_one_thread(groups: Path) -> None:
    (groups / "fs" / "cpu.max").write_text("10000 100000\n", encoding="ascii")
    assert available_cpus(groups / "fs", groups / "self") == 1


def test_without_control_groups_the_affinity_decides(tmp_path: Path) -> None:
    assert len(os.sched_getaffinity(0)) == available_cpus(tmp_path, tmp_path / "absent")
