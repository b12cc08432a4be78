"""Freed memory that a run on CPU keeps."""

import subprocess
import sys

import pytest

# Whether memory is kept, and page faults of blocks that are freed and asked for again.
_FAULTS = """
import resource
import torch
from mmf_bridge.common.allocator import keep_freed_memory

print(keep_freed_memory())
for _ in range(20):  # aligned blocks need holes that are a little larger than they are
    torch.ones(2**22)
faults = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(20):
    torch.ones(2**22)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - faults)
"""


def kept_and_faults(monkeypatch, **variables):
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    command = [sys.executable, "-c", _FAULTS]
    kept, faults = subprocess.run(
        command, capture_output=True, check=True, text=True
    ).stdout.split()
    return kept == "True", int(faults)


def test_a_block_that_was_freed_is_used_again(monkeypatch):
    kept, faults = kept_and_faults(monkeypatch)
    assert kept and faults < 4096


@pytest.mark.parametrize("name", ["MALLOC_MMAP_THRESHOLD_", "MALLOC_TRIM_THRESHOLD_"])
def test_the_environment_decides(monkeypatch, name):
    """20 blocks of 16 MiB have 81,920 pages, unless the system gives larger ones."""
    kept, faults = kept_and_faults(monkeypatch, **{name: "131072"})
    assert not kept and faults > 40


def test_so_do_the_tunables(monkeypatch):
    kept, _ = kept_and_faults(monkeypatch, GLIBC_TUNABLES="glibc.malloc.mmap_max=65536")
    assert not kept
