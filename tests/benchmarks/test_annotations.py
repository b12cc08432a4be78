"""The annotation benchmark runs, and prints a row for each thing that it measures."""

import os
import subprocess
import sys

from tests.bridge.runs import ROOT


def test_in_small(tmp_path):
    result = subprocess.run(
        [
            *(sys.executable, ROOT / "benchmarks" / "annotations.py"),
            *("--questions", "200", "--images", "20", "--workers", "0"),
        ],
        capture_output=True,
        text=True,
        # A temporary folder of its own: what others write in theirs is not left by this one.
        env={**os.environ, "TMPDIR": str(tmp_path)},
    )
    assert result.returncode == 0, result.stderr
    for row in ("conversion", "own lines", "pyarrow", "dictionaries", "datasets"):
        assert row in result.stdout
    lines = result.stdout.splitlines()
    assert "left by SIGKILL during an epoch: nothing" in lines
    assert "after the next conversion: nothing half-written" in lines
