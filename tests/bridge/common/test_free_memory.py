"""What is available: the machine's memory, or less in a container."""

import sys

import pytest

from mmf_bridge.common.free_memory import available_memory


@pytest.mark.parametrize("version", [1, 2])
def test_a_containers_limit_counts(tmp_path, version):
    (tmp_path / "meminfo").write_text("MemTotal: 9000 kB\nMemAvailable:    8000 kB\n")
    assert available_memory(tmp_path, tmp_path) == 8000 * 1024
    names = ["memory.max", "memory.current", "memory.stat"]
    if version == 1:
        (tmp_path / "memory").mkdir()
        names = ["limit_in_bytes", "usage_in_bytes", "stat"]
        names = [f"memory/memory.{name}" for name in names]
    prefix = "total_" if version == 1 else ""
    for name, text in zip(
        names, ["5000", "4000", f"anon 7\n{prefix}inactive_file 300\n"], strict=True
    ):
        (tmp_path / name).write_text(text)
    assert available_memory(tmp_path, tmp_path) == 1300
    (tmp_path / names[0]).write_text("max\n")  # no limit
    assert available_memory(tmp_path, tmp_path) == 8000 * 1024


def test_where_nothing_says_it(tmp_path):
    assert available_memory(tmp_path, tmp_path) == sys.maxsize
