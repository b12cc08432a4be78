"""What starts take: of the interpreter with the import hook, of MMF, of the `clipvil` command.

    python benchmarks/startup.py [RUNS]

Prints the median start-up of the interpreter without and with the hook; the median time until
`mmf_run` says its first line and has made its first update (easy-VQA), of `clipvil doctor` and of
`clipvil --help`, beside `import torch`; and the time of MMF's imports by package
(`python -X importtime`). All runs of a table take turns, in one session.
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
START_MMF = "import mmf_cli.run"
CONFIG = ROOT / "projects" / "clipvil" / "configs" / "easy_vqa.yaml"
OPTIONS = [
    "training.max_updates=1",
    "training.log_interval=1",
    "training.batch_size=16",
    "training.evaluation_interval=1000",
    "run_type=train",
    "env.overwrite=true",
]
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


def seconds_until(command: list[str | Path], text: str | None) -> tuple[float, float]:
    """(Seconds, seconds of processor time) until a line with `text`, or the end if that is None.

    Raises:
        RuntimeError: the command ends before it says `text`.
    """
    environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
    start = time.perf_counter()
    process = subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    output = ""
    for line in process.stdout:
        output += line
        if text is not None and text in line:
            process.kill()
            break
    else:
        if text is not None:
            raise RuntimeError(f"{command} has not said {text!r}:\n{output}")
    _, _, usage = os.wait4(process.pid, 0)
    return time.perf_counter() - start, usage.ru_utime + usage.ru_stime


def start_table(runs: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        code = "import sys; from mmf_cli.run import run; sys.exit(run())"
        opts = [f"config={CONFIG}", f"env.save_dir={folder}", *OPTIONS]
        mmf_run = [sys.executable, "-W", "ignore", "-c", code, *opts]
        clipvil = [sys.executable, "-m", "clipvil_mmf.cli.main"]
        commands = {
            "import torch": ([sys.executable, "-c", "import torch"], None),
            "mmf_run, first line": (mmf_run, ""),
            "mmf_run, first update": (mmf_run, "1/1 epoch"),
            "clipvil doctor": ([*clipvil, "doctor"], None),
            "clipvil --help": ([*clipvil, "--help"], None),
        }
        times: dict[str, list[tuple[float, float]]] = {name: [] for name in commands}
        for _ in range(runs):
            for name, (command, text) in commands.items():
                times[name].append(seconds_until(command, text))
    print(f"median of {runs}             time   to torch   processor   to torch")
    medians = {
        name: [statistics.median(column) for column in zip(*values, strict=True)]
        for name, values in times.items()
    }
    torch, torch_cpu = medians["import torch"]
    for name, (wall, cpu) in medians.items():
        print(f"  {name:22} {wall:5.2f} s {wall / torch:8.2f} {cpu:9.2f} s {cpu / torch_cpu:9.2f}")
    print()


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
    start_table(int(sys.argv[1]) if len(sys.argv) > 1 else 5)
    mmf_table("0")
    mmf_table("1")
