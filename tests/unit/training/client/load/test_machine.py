"""What is known of the machine."""

from training.client.load.machine import free_memory_bytes


def machine(root, available_kib, **group):
    (root / "proc").mkdir()
    (root / "proc" / "meminfo").write_text(f"MemTotal: 9 kB\nMemAvailable: {available_kib} kB\n")
    folder = root / "sys" / "fs" / "cgroup"
    folder.mkdir(parents=True)
    for name, text in group.items():
        (folder / f"memory.{name}").write_text(text)
    return root


def test_free_memory_is_what_linux_has_available(tmp_path):
    assert free_memory_bytes(machine(tmp_path, 100)) == 100 * 1024


def test_a_control_group_may_leave_less(tmp_path):
    root = machine(tmp_path, 100, max="9000", current="5000", stat="anon 1\ninactive_file 1000\n")
    assert free_memory_bytes(root) == 5000


def test_a_group_without_a_limit_takes_nothing_away(tmp_path):
    assert free_memory_bytes(machine(tmp_path, 100, max="max\n", current="5000")) == 100 * 1024


def test_a_system_that_says_nothing_has_no_known_limit(tmp_path):
    assert free_memory_bytes(tmp_path) is None
