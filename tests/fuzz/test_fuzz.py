"""Damaged files are read, or refused with the documented error; nothing else, and no crash.

CLIPVIL_FUZZ=N reads some N damaged files of each kind, instead of a hundred; CLIPVIL_FUZZ_SEED=S
others than these.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_damaged_files(tmp_path: Path) -> None:
    count = os.environ.get("CLIPVIL_FUZZ", "100")
    seed = os.environ.get("CLIPVIL_FUZZ_SEED", "0")
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-m", "tests.fuzz.run", tmp_path, count, seed],
        capture_output=True,
        text=True,
        cwd=ROOT,
    )
    assert done.returncode == 0, done.stdout + done.stderr[-2000:]
