"""The benchmark of the pre-training's sentences runs, and prints a row for each file."""

import os
import subprocess
import sys

from tests.bridge.runs import ROOT


def test_in_small(tmp_path):
    result = subprocess.run(
        [
            *(sys.executable, ROOT / "benchmarks" / "sentences.py"),
            *("--sentences", "400", "--images", "12", "--workers", "0"),
        ],
        capture_output=True,
        text=True,
        env={**os.environ, "TMPDIR": str(tmp_path)},
    )
    assert result.returncode == 0, result.stderr
    for row in ("mscoco_train", "mscoco_nominival", "vgnococo", "first batch"):
        assert row in result.stdout
    assert not list(tmp_path.glob("sentences-*"))
