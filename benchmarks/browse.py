"""VQA v2's size: `clipvil browse` from the command to the first page, filtered pages, memory.

    python benchmarks/browse.py [--questions N] [--images M]

Writes synthetic files in VQA v2's official format (``annotations.py``) and two prediction files
with confidences and five answers a question, starts the command on them, and asks for pages as a
browser does. No image file exists: a page says so in the place of each of its 24.
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.request
from itertools import islice
from pathlib import Path

from annotations import ANSWERS, IMAGES, QUESTIONS, write_files
from rich.console import Console
from rich.table import Table

from clipvil_mmf.data.catalogue import store_folder
from clipvil_mmf.data.store import open_or_convert

TOP = 5
COMMAND = [sys.executable, "-m", "clipvil_mmf.cli.main", "browse"]
# What is asked for, in this order; nothing twice, as the page keeps what it has found.
PAGES = {
    "first page": "",
    "last page": "?page=1000000",
    "text in the question": "?text=man+on",
    "right answer": "?answer=answer+1",
    "id": "?id=9000",
    "ordered by id": "?sort=id",
}
PAGES_OF_RUNS = {
    "wrong answers": "?verdict=wrong",
    "confidence from 90 %": "?verdict=right&least=90",
    "two runs that disagree": "?compare=differ",
    "ordered by loss": "?sort=-loss",
    "disagreement, text, loss": "?text=dog&compare=differ&sort=-loss",
    "export of all ids": "ids.json",
    "export of wrong questions": "questions.json?verdict=wrong",
}


def write_predictions(folder: Path, ids: list[int], runs: int) -> list[Path]:
    """Write prediction files with confidences and further answers, the same ones each time."""
    answers = [f"answer {i}" for i in range(ANSWERS)]
    weights = [1 / (i + 1) for i in range(len(answers))]
    files = []
    for run in range(runs):
        lots = random.Random(run)
        drawn = iter(lots.choices(answers, weights, k=TOP * len(ids)))
        rows = []
        for key in ids:
            best = list(islice(drawn, TOP))
            sure = sorted((round(lots.random(), 6) for _ in best), reverse=True)
            pairs = [[answer, share] for answer, share in zip(best, sure, strict=True)]
            row = {"question_id": key, "answer": best[0], "confidence": sure[0]}
            rows.append(json.dumps({**row, "top_answers": pairs}))
        files.append(folder / f"run{run}.json")
        files[-1].write_text(f"[{', '.join(rows)}]")
    return files


def memory(pid: int) -> tuple[float, float]:
    """Resident memory of a process now and at its peak, in MiB."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    found = {name: line for line in lines for name in ("VmRSS", "VmHWM") if line.startswith(name)}
    return tuple(int(found[name].split()[1]) / 1024 for name in ("VmRSS", "VmHWM"))


def ask(address: str) -> tuple[float, int]:
    """Seconds until a page is there, and its bytes."""
    began = time.perf_counter()
    with urllib.request.urlopen(address) as response:
        size = len(response.read())
    return time.perf_counter() - began, size


def measure(files: list[Path], predictions: list[Path], table: Table) -> None:
    """Start the command, ask for pages, and add a row for each."""
    questions, annotations = files
    words = [str(questions), "--annotations", str(annotations), "--port", "0"]
    for file in predictions:
        words += ["--predictions", str(file)]
    began = time.perf_counter()
    process = subprocess.Popen([*COMMAND, *words], stdout=subprocess.PIPE, text=True)
    try:
        lines = iter(process.stdout.readline, "")
        address = next(line.split()[0] for line in lines if line.startswith("http"))
        runs = {0: "no run"}.get(len(predictions), f"{len(predictions)} runs")
        table.add_row(runs, "the command, until it is ready", *cells(began, process.pid), "")
        for what, query in (PAGES | (PAGES_OF_RUNS if predictions else {})).items():
            seconds, size = ask(address + query)
            now, peak = memory(process.pid)
            table.add_row(runs, what, f"{seconds:.2f}", f"{now:.0f}", f"{peak:.0f}", kib(size))
    finally:
        process.terminate()
        process.wait()


def cells(began: float, pid: int) -> tuple[str, str, str]:
    """The cells for what has taken until now."""
    now, peak = memory(pid)
    return f"{time.perf_counter() - began:.2f}", f"{now:.0f}", f"{peak:.0f}"


def kib(size: int) -> str:
    """Bytes in KiB."""
    return f"{size / 1024:,.0f}"


def report(questions: int, images: int) -> None:
    """Measure everything and print the table."""
    folder = Path(tempfile.mkdtemp(prefix="browse-"))
    try:
        files = write_files(folder, questions, images)
        began = time.perf_counter()
        split = open_or_convert(files, store_folder(folder, files[0].stem))
        converted = time.perf_counter() - began
        predictions = write_predictions(folder, split.ids(), 2)
        size = sum(file.stat().st_size for file in predictions) / len(predictions) / 2**20
        table = Table(
            title=f"clipvil browse: {questions:,} synthetic questions on {images:,} images, "
            f"prediction files of {size:.0f} MiB",
            caption=f"The store of the questions is made once, in {converted:.1f} s, as training "
            "makes it. MiB: resident memory of the command, now and at its peak; of the store it "
            "maps what it has read.",
        )
        table.add_column("")
        table.add_column("")
        for name in ("seconds", "MiB", "peak MiB", "KiB sent"):
            table.add_column(name, justify="right")
        for given in ([], predictions):
            measure(files, given, table)
            table.add_section()
        Console(width=110).print(table)
    finally:
        shutil.rmtree(folder)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--questions", type=int, default=QUESTIONS)
    parser.add_argument("--images", type=int, default=IMAGES)
    options = parser.parse_args()
    report(options.questions, options.images)
