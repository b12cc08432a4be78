"""The annotation benchmark runs, and prints a row for each thing that it measures."""

import subprocess
import sys

from tests.bridge.runs import ROOT


def test_in_small():
    result = subprocess.run(
        [
            *(sys.executable, ROOT / "benchmarks" / "annotations.py"),
            *("--questions", "200", "--images", "20", "--workers", "0"),
        ],
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stderr
    for row in ("conversion", "opening the store", "mapped", "dictionaries"):
        assert row in result.stdout
    lines = result.stdout.splitlines()
    assert "left by SIGKILL during an epoch: nothing" in lines
    assert "after the next conversion: nothing half-written" in lines
