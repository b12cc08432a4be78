"""What the import hook costs every start of Python, and what a start of MMF is made of.

    python benchmarks/startup.py

Prints two tables: the median start-up of the interpreter without and with the hook (runs in turn,
in one session), and the import time of `mmf_run` by package (`python -X importtime`), with the
bridge off and on.
"""

from __future__ import annotations

import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
import venv
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
RUNS = 40
START_MMF = "import mmf_cli.run as run; run.setup_imports()"
IMPORT_LINE = re.compile(r"import time:\s*(\d+) \|\s*(\d+) \| +(\S+)")


def bare_environment(folder: Path, hook: bool) -> Path:
    """An environment of the standard library alone, with or without the hook; gives its Python."""
    venv.create(folder, with_pip=False)
    site = next(folder.glob("lib/python*/site-packages"))
    (site / "__editable__.clipvil_mmf.pth").write_text(f"{ROOT}\n")
    if hook:
        (site / "mmf_bridge.pth").write_text((ROOT / "mmf_bridge.pth").read_text())
    return folder / "bin" / "python"


def milliseconds(python: Path) -> float:
    start = time.perf_counter()
    subprocess.run([python, "-c", "pass"], check=True)
    return (time.perf_counter() - start) * 1000


def interpreter_table() -> None:
    with tempfile.TemporaryDirectory() as folder:
        pythons = {
            name: bare_environment(Path(folder, name), hook=name == "with the hook")
            for name in ("without the hook", "with the hook")
        }
        times: dict[str, list[float]] = {name: [] for name in pythons}
        for _ in range(RUNS):
            for name, python in pythons.items():
                times[name].append(milliseconds(python))
    print(f"python -c pass, median of {RUNS}")
    for name, values in times.items():
        print(f"  {name:18} {statistics.median(values):7.1f} ms")
    pairs = zip(*times.values(), strict=True)
    print(f"  {'the hook':18} {statistics.median(b - a for a, b in pairs):7.1f} ms\n")


def mmf_table(bridge: str) -> None:
    start = time.perf_counter()
    run = subprocess.run(
        [sys.executable, "-X", "importtime", "-c", START_MMF],
        env={**os.environ, "MMF_BRIDGE": bridge},
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
        check=False,
    )
    seconds = time.perf_counter() - start
    name = "off" if bridge == "0" else "on"
    if run.returncode:
        print(f"mmf_run with the bridge {name}: fails after {seconds:.1f} s")
        print(f"  {run.stderr.strip().splitlines()[-1]}\n")
        return
    own: Counter[str] = Counter()
    for line in run.stderr.splitlines():
        if match := IMPORT_LINE.match(line):
            own[match[3].split(".")[0]] += int(match[1])
    print(f"mmf_run with the bridge {name}: {seconds:.1f} s, of it imports (own time)")
    for package, micros in [*own.most_common(8), ("mmf_bridge", own["mmf_bridge"])]:
        print(f"  {package:18} {micros / 1000:7.0f} ms")
    print()


if __name__ == "__main__":
    interpreter_table()
    mmf_table("0")
    mmf_table("1")
