"""The benchmark of feeding runs, prints a row for each thing that it measures, and cleans up."""

import os
import subprocess
import sys

from tests.bridge.runs import ROOT


def test_in_small(tmp_path):
    result = subprocess.run(
        [
            *(sys.executable, ROOT / "benchmarks" / "feeding.py"),
            *("--images", "12", "--batch", "4", "--workers", "1", "--size", "32,48"),
            *("--batches", "3", "--repeats", "1", "--consumer", "1000"),
        ],
        capture_output=True,
        text=True,
        env={**os.environ, "TMPDIR": str(tmp_path)},
    )
    assert result.returncode == 0, result.stderr
    for row in ("transport alone", "slots", "pipe", "end to end", "share", "waits for data"):
        assert row in result.stdout
    assert "slower" not in result.stderr  # nothing went by value
    assert os.listdir(tmp_path) == []
