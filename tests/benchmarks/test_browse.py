"""The benchmark of clipvil browse runs, and prints a row for each thing that it measures."""

import subprocess
import sys

from tests.bridge.runs import ROOT


def test_in_small():
    result = subprocess.run(
        [sys.executable, ROOT / "benchmarks" / "browse.py", "--questions", "200", "--images", "20"],
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stderr
    for row in ("until it is ready", "first page", "two runs that disagree", "ordered by loss"):
        assert row in result.stdout
