"""Runs the test of each patch of the installed line without that patch: it has to fail.

python -m tests.bridge.without [FUNCTION ...]
"""

import os
import subprocess
import sys

from mmf_bridge.line import detect
from mmf_bridge.patches import TABLE, WITHOUT
from tests.bridge.runs import ROOT


def outcome(test, without):
    """`pass`, `fail`, or what else pytest ended with, of a test without a patch."""
    result = subprocess.run(
        [sys.executable, "-m", "pytest", "-x", "-q", "-W", "ignore", f"tests/bridge/{test}"],
        cwd=ROOT,
        env={**os.environ, WITHOUT: without},
        capture_output=True,
        text=True,
    )
    if result.returncode == 5 or (" skipped" in result.stdout and " passed" not in result.stdout):
        return "not run"
    return {0: "pass", 1: "fail"}.get(result.returncode, f"pytest ended with {result.returncode}")


def main():
    line = detect()
    asked = set(sys.argv[1:])
    pairs = {(patch.function, patch.test) for patch in TABLE if line in patch.lines}
    wrong = 0
    for function, test in sorted(pairs):
        if asked and function not in asked:
            continue
        found = outcome(test, function)
        wrong += found != "fail"
        print(f"{found:>8}  without {function}: {test}", flush=True)
    print(f"{wrong} tests do not fail without their patch")
    return bool(wrong)


if __name__ == "__main__":
    sys.exit(main())
