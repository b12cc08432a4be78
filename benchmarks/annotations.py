"""VQA v2's size: converting the annotations, the first batch, memory of data loader workers.

    python benchmarks/annotations.py [--questions N] [--images M] [--workers 0,2,8]

Writes made-up files in VQA v2's official format, and measures, each in processes of its own. No
image file exists: every picture is the same small constant one, so that what is measured is the
annotations'. The baseline is the same dataset, with the questions as a list of Python dictionaries
in the place of the mapped store: it tokenises, makes targets and collates alike.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import torch
from rich.console import Console
from rich.table import Table
from torch.utils.data import DataLoader, Dataset

from clipvil_mmf.data.formats import read_columns
from clipvil_mmf.data.store import open_or_convert, store_path
from clipvil_mmf.data.table import QuestionTable, SoftAnswers
from mmf_bridge.common.by_value import HandOver

QUESTIONS, IMAGES, ANSWERS = 443_757, 82_783, 3_129
BATCH, BATCHES = 32, 200
WORDS = "what color is the how many are there man on dog in a red".split()  # noqa: SIM905
SELF = [sys.executable, __file__]
UNDER_WAY = "under way"  # printed with each batch: a process may be killed in its epoch


def write_files(folder: Path, questions: int, images: int) -> list[Path]:
    """Write a question file and an annotation file, the same ones each time."""
    lots = random.Random(0)
    answers = [f"answer {i}" for i in range(ANSWERS + 2 * questions // 10)]
    weights = [1 / (i + 1) for i in range(len(answers))]
    drawn = iter(lots.choices(answers, weights, k=4 * questions))
    names = [f"v2_{kind}.json" for kind in ("questions", "annotations")]
    head = {"info": {}, "data_type": "mscoco", "data_subtype": "train2014", "license": {}}
    with (folder / names[0]).open("w") as asked, (folder / names[1]).open("w") as known:
        asked.write(json.dumps({**head, "task_type": "Open-Ended"})[:-1] + ', "questions": [')
        known.write(json.dumps(head)[:-1] + ', "annotations": [')
        for i in range(questions):
            image = i * images // questions + 9
            text = " ".join(lots.choices(WORDS, k=6)) + "?"
            key = image * 1000 + i % 1000
            pool = [next(drawn) for _ in range(4)]
            given = [pool[min(j // 4, 3)] for j in range(10)]
            row = {"image_id": image, "question": text, "question_id": key}
            label = {
                "question_type": "what",
                "multiple_choice_answer": given[0],
                "answers": [
                    {"answer": a, "answer_confidence": "yes", "answer_id": j + 1}
                    for j, a in enumerate(given)
                ],
                "image_id": image,
                "answer_type": "other",
                "question_id": key,
            }
            comma = ", " if i else ""
            asked.write(comma + json.dumps(row))
            known.write(comma + json.dumps(label))
        asked.write("]}")
        known.write("]}")
    return [folder / name for name in names]


class OneEach:
    """In the place of the image files: the same small picture for every image."""

    bad: dict[int, Exception] = {}  # noqa: RUF012 (never written)

    def __init__(self, *_: object, **__: object) -> None:
        self.picture = torch.zeros(3, 8, 8, dtype=torch.uint8)

    def read(self, rows: list[int]) -> list[torch.Tensor]:
        """Return that picture for each row."""
        return [self.picture for _ in rows]


class Dictionaries:
    """The usual way: a list of dictionaries, of which each worker comes to hold a copy.

    It stands in the place of a ``QuestionTable``, and gives what the dataset asks that for.

    Args:
        files: the question and the annotation file.
    """

    is_labelled = True
    source = "dictionaries"

    def __init__(self, files: list[Path]) -> None:
        images: dict[str, int] = {}
        self._answers: dict[str, int] = {}
        self._rows = []
        for question in read_columns(files).questions():
            image = images.setdefault(question.image, len(images))
            row = {"id": question.question_id, "text": question.text, "image": question.image}
            self._rows.append({**row, "image_row": image, "answers": question.answers})
            for answer in question.answers:
                self._answers.setdefault(answer, len(self._answers))
        self.answer_texts = list(self._answers)
        self.image_count = len(images)

    def __len__(self) -> int:
        return len(self._rows)

    @property
    def image_rows(self) -> np.ndarray:
        """(N,) int64 the image of each question."""
        return self.images_of(range(len(self)))

    def images_of(self, rows: Iterable[int]) -> np.ndarray:
        """(B,) int64 the images of these questions."""
        return np.asarray([self._rows[row]["image_row"] for row in rows], dtype=np.int64)

    def ids(self, rows: Iterable[int]) -> list[int]:
        """The ids of these questions."""
        return [self._rows[row]["id"] for row in rows]

    def texts(self, rows: Iterable[int]) -> list[str]:
        """These questions."""
        return [self._rows[row]["text"] for row in rows]

    def answers_of(self, rows: Iterable[int]) -> SoftAnswers:
        """The answers of these questions."""
        found = [
            (position, self._answers[answer], score)
            for position, row in enumerate(rows)
            for answer, score in self._rows[row]["answers"].items()
        ]
        positions, answers, scores = zip(*found, strict=True)
        return SoftAnswers(
            np.asarray(positions, dtype=np.int64),
            np.asarray(answers, dtype=np.int32),
            np.asarray(scores, dtype=np.float32),
        )


def dataset_on(table: QuestionTable | Dictionaries) -> tuple[Dataset, object]:
    """The plugin's dataset on these questions, and its batches."""
    from mmf.common.registry import registry
    from omegaconf import OmegaConf

    import clipvil_mmf.data.dataset as module

    module.ImageStore = OneEach
    registry.register("config", OmegaConf.create({}))
    config = {
        "data_dir": "",
        "image_size": [8, 8],
        "on_unknown_answer": "keep",
        "processors": {
            "text_processor": {"type": "clipvil_wordpiece", "params": {}},
            "answer_processor": {"type": "clipvil_answer", "params": {}},
        },
    }
    dataset = module.ClipVilDataset(
        "vqa2",
        OmegaConf.create(config),
        "train",
        table=table,
        training_questions=lambda: [" ".join(WORDS) + "?"],
        labels=lambda: [f"answer {i}" for i in range(ANSWERS)],
    )
    dataset.init_processors()
    return dataset, dataset.build_batch_sampler(BATCH, True, 0, 0, 1)


def memory(pid: int) -> dict[str, float]:
    """RSS, PSS and private memory of a process, in MiB."""
    found = {"Rss": 0.0, "Pss": 0.0, "Private_Clean": 0.0, "Private_Dirty": 0.0}
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        name = line.split(":")[0]
        if name in found:
            found[name] = int(line.split()[1]) / 1024
    private = found["Private_Clean"] + found["Private_Dirty"]
    return {"rss": found["Rss"], "pss": found["Pss"], "private": private}


def measure_workers(kind: str, store: Path, files: list[Path], workers: int, start: str) -> dict:
    """Memory of this process and of its workers after some batches; time to the first one."""
    import clipvil_mmf.data.dataset
    import clipvil_mmf.data.labels
    import clipvil_mmf.text.wordpiece  # noqa: F401 (MMF, which is no part of the time)

    began = time.perf_counter()
    mapped = kind == "mapped"
    table = QuestionTable.open(store_path(files, store)) if mapped else Dictionaries(files)
    dataset, batches = dataset_on(table)
    loader = DataLoader(
        dataset,
        batch_sampler=batches,
        collate_fn=HandOver(dataset.collate),
        num_workers=workers,
        multiprocessing_context=start if workers else None,
        persistent_workers=workers > 0,
    )
    iterator = iter(loader)
    next(iterator)
    first = time.perf_counter() - began
    for _ in range(min(BATCHES * max(workers, 1), len(batches)) - 1):
        next(iterator)
        print(UNDER_WAY, flush=True)
    mine = [memory(process.pid) for process in multiprocessing.active_children()]
    return {
        "first": first,
        "main": memory(os.getpid()),
        "workers": {
            key: max(m[key] for m in mine) if mine else 0.0 for key in ("rss", "pss", "private")
        },
    }


def measure_conversion(files: list[Path], store: Path) -> dict:
    """Time and peak memory of one conversion."""
    began = time.perf_counter()
    open_or_convert(files, store)
    seconds = time.perf_counter() - began
    began = time.perf_counter()
    QuestionTable.open(store_path(files, store))
    return {
        "convert": seconds,
        "open": time.perf_counter() - began,
        "peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }


def left_behind(command: list[str], seconds: float | None, places: list[Path]) -> list[str]:
    """What a process and its workers, killed in their work, leave in these folders.

    Args:
        command: the process.
        seconds: when it is killed; None for as soon as it says that its epoch is under way.
        places: the folders.
    """
    before = {place: set(os.listdir(place)) for place in places}
    process = subprocess.Popen(
        command,
        start_new_session=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    if seconds is not None:
        time.sleep(seconds)
    elif not any(line.strip() == UNDER_WAY for line in process.stdout):
        raise RuntimeError("the process ended before its epoch was under way")
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    time.sleep(0.5)
    return [f"{p}/{name}" for p in places for name in sorted(set(os.listdir(p)) - before[p])]


def child(*arguments: object) -> dict:
    """Run one measurement of this file in a fresh process."""
    result = subprocess.run(
        [*SELF, "--measure", *map(str, arguments)], capture_output=True, text=True
    )
    if result.returncode:
        raise RuntimeError(result.stderr)
    return json.loads(result.stdout.strip().splitlines()[-1])


def measure(what: str, *arguments: str) -> None:
    """What ``child`` runs."""
    if what == "convert":
        *files, store = map(Path, arguments)
        found = measure_conversion(files, store)
    else:
        kind, workers, start, store, *files = arguments
        found = measure_workers(kind, Path(store), [*map(Path, files)], int(workers), start)
    print(json.dumps(found))


def report(questions: int, images: int, workers: list[int], most_spawned: int = 2) -> None:
    """Measure everything and print the tables.

    Args:
        questions: how many there are.
        images: what they are about.
        workers: numbers of data loader workers.
        most_spawned: up to how many are measured spawned, too.
    """
    console = Console(width=110)
    folder = Path(tempfile.mkdtemp(prefix="annotations-"))
    try:
        files = write_files(folder, questions, images)
        store = folder / "stores" / "train"
        size = sum(file.stat().st_size for file in files) / 2**20
        found = child("convert", *files, store)
        kept = store_path(files, store).iterdir()
        stored = sum(file.stat().st_size for file in kept) / 2**20
        table = Table(title=f"{questions:,} questions on {images:,} images (made up)")
        table.add_column("what")
        table.add_column("figure", justify="right")
        table.add_row("JSON files", f"{size:.0f} MiB")
        table.add_row("store", f"{stored:.0f} MiB")
        table.add_row("conversion", f"{found['convert']:.1f} s")
        table.add_row("peak memory of the conversion", f"{found['peak']:.0f} MiB")
        table.add_row("opening the store", f"{found['open'] * 1000:.1f} ms")

        runs = [("mapped", count, "fork") for count in workers]
        # Each spawned worker imports MMF; of many of them that would be what takes the time.
        runs += [("mapped", count, "spawn") for count in workers if 0 < count <= most_spawned]
        runs += [("dictionaries", count, "fork") for count in workers]
        rows = Table(
            title=f"memory in MiB after {BATCHES} batches of {BATCH} a worker (largest worker)",
            caption="No image is read: every picture is the same constant one, of 8 x 8 pixels. "
            "first batch: from opening the questions on, with MMF imported. dictionaries: the same "
            "dataset, its questions a list of Python dictionaries.",
        )
        for name in ("annotations", "workers", "start", "first batch", "main RSS", "worker RSS"):
            rows.add_column(name, justify="right")
        for name in ("worker PSS", "worker private"):
            rows.add_column(name, justify="right")
        for kind, count, start in runs:
            run = child("workers", kind, count, start, store, *files)
            worker = [
                f"{run['workers'][k]:.0f}" if count else "-" for k in ("rss", "pss", "private")
            ]
            rows.add_row(
                kind,
                str(count),
                start if count else "-",
                f"{run['first']:.2f} s",
                f"{run['main']['rss']:.0f}",
                *worker,
            )
        console.print(table, rows)

        places = [Path("/dev/shm"), Path(tempfile.gettempdir()), store.parent]
        epoch = [*SELF, "--measure", "workers", "mapped", "2", "fork", str(store), *map(str, files)]
        again = folder / "stores" / "again"
        convert = [*SELF, "--measure", "convert", *map(str, files), str(again)]
        halfway = 3 + found["convert"] / 2
        for what, command, seconds in (
            ("an epoch", epoch, None),
            ("a conversion", convert, halfway),
        ):
            left = left_behind(command, seconds, places)
            print(f"left by SIGKILL during {what}: {', '.join(left) or 'nothing'}")
        child("convert", *files, again)
        partial = [name for name in os.listdir(again.parent) if "partial" in name]
        print(f"after the next conversion: {', '.join(partial) or 'nothing half-written'}")
    finally:
        shutil.rmtree(folder)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--measure"]:
        measure(*sys.argv[2:])
    else:
        parser = argparse.ArgumentParser(description=__doc__)
        parser.add_argument("--questions", type=int, default=QUESTIONS)
        parser.add_argument("--images", type=int, default=IMAGES)
        parser.add_argument("--workers", default="0,2,8", help="numbers of workers")
        chosen = parser.parse_args()
        counts = [int(count) for count in chosen.workers.split(",")]
        report(chosen.questions, chosen.images, counts)
