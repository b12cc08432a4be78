"""VQA v2's size: converting the annotations, the first batch, memory of data loader workers.

    python benchmarks/annotations.py [--questions N] [--images M] [--workers 0,2,8]

Writes synthetic files in VQA v2's official format, and measures, each in processes of its own. No
image file exists: every picture is the same small constant one, so that what is measured is the
annotations'. Three ways to keep the questions stand behind the same dataset, which tokenises, makes
targets and batches alike: the plugin's store (plain pyarrow), the library ``datasets`` of Hugging
Face (``pip install datasets``; left out where it is not installed), and a list of Python
dictionaries that is read from the JSON files at each start.
"""

from __future__ import annotations

import argparse
import ast
import inspect
import json
import multiprocessing
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from rich.console import Console
from rich.table import Table
from torch.utils.data import DataLoader, Dataset

from clipvil_mmf.data import locking, store, table
from clipvil_mmf.data.formats import read_table
from clipvil_mmf.data.images import Pictures
from clipvil_mmf.data.table import SoftAnswers
from mmf_bridge.common.resident import peak_resident
from mmf_bridge.common.shared_batches import HandOver

QUESTIONS, IMAGES, ANSWERS = 443_757, 82_783, 3_129
BATCH, BATCHES = 32, 200
WORDS = "what color is the how many are there man on dog in a red".split()  # noqa: SIM905
SELF = [sys.executable, __file__]
PYARROW, DATASETS, DICTIONARIES = "pyarrow", "datasets", "dictionaries"
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
        """Take what an ``ImageStore`` takes."""

    def read(self, rows: list[int], joined: int = 1) -> Pictures:
        """Return that picture for each row; ``joined`` are the images of a sample."""
        return Pictures(torch.zeros(len(rows), 3, 8, 8, dtype=torch.uint8), None)


class Dictionaries:
    """The usual way: a list of dictionaries, of which each worker comes to hold a copy.

    It stands in the place of a ``QuestionTable``, and gives what the dataset asks that for.

    Args:
        files: the question and the annotation file.
    """

    is_labelled = True
    source = "dictionaries"
    images_per_sample = 1

    def __init__(self, files: list[Path]) -> None:
        images: dict[str, int] = {}
        self._answers: dict[str, int] = {}
        self._rows = []
        for question in read_table(files):
            images.setdefault(question.image, len(images))
            row = {"id": question.question_id, "text": question.text, "image": question.image}
            self._rows.append({**row, "answers": question.answers})
            for answer in question.answers:
                self._answers.setdefault(answer, len(self._answers))
        self.answer_texts = list(self._answers)
        self.image_count = len(images)
        self.image_rows = np.asarray([images[row["image"]] for row in self._rows], np.int32)

    def __len__(self) -> int:
        return len(self._rows)

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


def convert_with_datasets(files: list[Path], folder: Path) -> None:
    """Let ``datasets`` keep the questions: its cache has a lock, and appears complete or not."""
    import datasets

    features = datasets.Features(
        {
            "id": datasets.Value("int64"),
            "text": datasets.Value("string"),
            "image": datasets.Value("string"),
            "answers": datasets.List(datasets.Value("string")),
            "scores": datasets.List(datasets.Value("float32")),
            "given": datasets.List(datasets.Value("string")),
            "question_type": datasets.Value("string"),
            "answer_type": datasets.Value("string"),
        }
    )

    class Questions(datasets.ArrowBasedBuilder):
        def _info(self) -> datasets.DatasetInfo:
            return datasets.DatasetInfo(features=features)

        def _split_generators(self, _: object) -> list[datasets.SplitGenerator]:
            return [datasets.SplitGenerator("train", {"files": files})]

        def _generate_tables(self, files: list[Path]) -> Iterable[tuple[int, pa.Table]]:
            (part,) = read_table(files).parts
            strings = pa.list_(pa.string())
            for number, batch in enumerate(part.table.to_batches(max_chunksize=10_000)):
                answers = batch["answers"]
                begin, end = answers.offsets[0].as_py(), answers.offsets[-1].as_py()
                texts, scores = answers.values.slice(begin, end - begin).flatten()
                starts = pa.array(answers.offsets.to_numpy() - begin)
                columns = {
                    "id": batch["id"],
                    "text": batch["text"],
                    "image": batch["image"].cast(pa.string()),
                    "answers": pa.ListArray.from_arrays(starts, texts.cast(pa.string())),
                    "scores": pa.ListArray.from_arrays(starts, scores),
                    "given": batch["given"].cast(strings),
                    "question_type": batch["question_type"].cast(pa.string()),
                    "answer_type": batch["answer_type"].cast(pa.string()),
                }
                yield number, pa.table(columns)

    datasets.disable_progress_bars()
    builder = Questions(cache_dir=str(folder))
    builder.download_and_prepare(verification_mode="no_checks")
    builder.as_dataset("train").save_to_disk(str(folder / "kept"))


class WithDatasets:
    """Questions that ``datasets`` has mapped; in the place of a ``QuestionTable``.

    Its features have no dictionaries: images and answers get their numbers at each start.

    Args:
        folder: where ``convert_with_datasets`` has kept them.
    """

    is_labelled = True
    source = "datasets"

    def __init__(self, folder: Path) -> None:
        from datasets import load_from_disk

        kept = load_from_disk(str(folder / "kept"))
        self._ids, self._texts = kept.select_columns("id"), kept.select_columns("text")
        image = kept.data["image"].combine_chunks().dictionary_encode()
        self.image_rows, self.image_count = image.indices.to_numpy(), len(image.dictionary)
        answers = kept.data["answers"].combine_chunks()
        texts = answers.values.dictionary_encode()
        self.answer_texts = texts.dictionary.to_pylist()
        self._starts, self._answers = answers.offsets.to_numpy(), texts.indices.to_numpy()
        self._scores = kept.data["scores"].combine_chunks().values.to_numpy()

    def __len__(self) -> int:
        return len(self._ids)

    def ids(self, rows: Iterable[int]) -> list[int]:
        """The ids of these questions."""
        return self._ids[rows]["id"]

    def texts(self, rows: Iterable[int]) -> list[str]:
        """These questions."""
        return self._texts[rows]["text"]

    def answers_of(self, rows: np.ndarray) -> SoftAnswers:
        """The answers of these questions."""
        runs = [np.arange(self._starts[row], self._starts[row + 1]) for row in rows]
        places = np.concatenate(runs)
        positions = np.repeat(np.arange(len(rows)), [len(run) for run in runs])
        return SoftAnswers(positions, self._answers[places], self._scores[places])


def dataset_on(table: Any) -> tuple[Dataset, object]:
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


def measure_workers(kind: str, folder: Path, files: list[Path], workers: int, start: str) -> dict:
    """Memory of this process and of its workers after some batches; time to the first one."""
    import clipvil_mmf.data.dataset
    import clipvil_mmf.data.labels
    import clipvil_mmf.text.wordpiece  # noqa: F401 (MMF, which is no part of the time)

    began = time.perf_counter()
    dataset, batches = dataset_on(opened(kind, files, folder))
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


def opened(kind: str, files: list[Path], folder: Path) -> Any:
    """What stands in the place of a table, read or mapped as at the start of a run."""
    if kind == DATASETS:
        return WithDatasets(folder / kind)
    return store.open_or_convert(files, folder / kind) if kind == PYARROW else Dictionaries(files)


def measure_conversion(kind: str, files: list[Path], folder: Path) -> dict:
    """Time and peak memory of one conversion."""
    before = peak_resident() / 2**20
    began = time.perf_counter()
    if kind == DATASETS:
        convert_with_datasets(files, folder / kind)
    else:
        store.open_or_convert(files, folder / kind)
    seconds = time.perf_counter() - began
    peak = peak_resident() / 2**20
    return {"seconds": seconds, "peak": peak, "before": before}


def measure_opening(kind: str, files: list[Path], folder: Path) -> dict:
    """Time to open what is kept; the second time, when its pages are in memory."""
    opened(kind, files, folder)
    began = time.perf_counter()
    opened(kind, files, folder)
    return {"seconds": time.perf_counter() - began}


def own_lines(kind: str) -> str:
    """Lines of our own code that keep the questions and read them back, without comments."""
    ours = (store, locking, table.Part, table.open_part, table.map_table, table.check_table)
    theirs = (convert_with_datasets, WithDatasets)
    used = {PYARROW: ours, DATASETS: theirs, DICTIONARIES: (Dictionaries,)}[kind]
    count = sum(code_lines(inspect.getsource(part)) for part in used)
    if kind != PYARROW:
        return str(count)
    names = [
        "is_fresh",
        "_description",
        "_state",
        "sha256_of",
        "_checksum",
        "_fingerprint",
        "_describe",
    ]
    checks = [*(getattr(store, name) for name in names), store._DamageError, table.check_table]
    return f"{count} ({sum(code_lines(inspect.getsource(check)) for check in checks)})"


def code_lines(source: str) -> int:
    """Lines of a source that are neither blank, comments nor docstrings."""
    tree = ast.parse(source)
    lines = {number for number, line in enumerate(source.splitlines(), 1) if line.strip()}
    lines -= {
        number
        for number, line in enumerate(source.splitlines(), 1)
        if line.lstrip().startswith("#")
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            lines -= set(range(node.lineno, (node.end_lineno or 0) + 1))
    return len(lines)


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


def measure(what: str, kind: str, folder: str, *arguments: str) -> None:
    """What ``child`` runs."""
    if kind == DATASETS:
        import datasets  # noqa: F401 (no part of the time)
    if what == "workers":
        workers, start, *files = arguments
        found = measure_workers(kind, Path(folder), [*map(Path, files)], int(workers), start)
    else:
        run = measure_conversion if what == "convert" else measure_opening
        found = run(kind, [*map(Path, arguments)], Path(folder))
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
    stores = folder / "stores"
    stores.mkdir()
    try:
        files = write_files(folder, questions, images)
        size = sum(file.stat().st_size for file in files) / 2**20
        kinds = [PYARROW, DATASETS, DICTIONARIES]
        if find_spec(DATASETS) is None:
            kinds.remove(DATASETS)
            print("datasets is not installed, so its rows are left out: pip install datasets")
        rows = Table(
            title=f"{questions:,} synthetic questions on {images:,} images, JSON files of "
            f"{size:.0f} MiB",
            caption="peak: of the process, and what of it is there before the conversion (torch, "
            "MMF). opening: with its checks; what is kept is in the page cache. own lines: code "
            "that keeps the questions and reads them back; and what of it notices changed files "
            "and damage, which the others do not.",
        )
        for name in ("annotations", "conversion", "peak MiB", "kept MiB", "opening", "own lines"):
            rows.add_column(name, justify="right")
        for kind in kinds:
            cells = ["-"] * 4
            if kind != DICTIONARIES:
                run = child("convert", kind, stores, *files)
                places = [stores / DATASETS] if kind == DATASETS else stores.glob(f"{kind}-*")
                kept = [file for place in places for file in place.rglob("*.arrow")]
                if kind == DATASETS:  # beside it lies the cache that it was made from
                    kept = [file for file in kept if "kept" in file.parts]
                stored = sum(file.stat().st_size for file in kept) / 2**20
                opening = child("open", kind, stores, *files)
                cells = [
                    f"{run['seconds']:.1f} s",
                    f"{run['peak']:.0f} ({run['before']:.0f})",
                    f"{stored:.0f}",
                    f"{opening['seconds'] * 1000:.0f} ms",
                ]
            rows.add_row(kind, *cells, str(own_lines(kind)))
        console.print(rows)

        runs = [(kind, count, "fork") for kind in kinds for count in workers]
        # Each spawned worker imports MMF; of many of them that would be what takes the time.
        spawned = [count for count in workers if 0 < count <= most_spawned]
        runs += [(kind, count, "spawn") for kind in kinds[:-1] for count in spawned]
        rows = Table(
            title=f"memory in MiB after {BATCHES} batches of {BATCH} a worker (largest worker)",
            caption="No image is read: every picture is the same constant one, of 8 x 8 pixels. "
            "first batch: from opening the questions on, with MMF imported.",
        )
        for name in ("annotations", "workers", "start", "first batch", "main RSS", "worker RSS"):
            rows.add_column(name, justify="right")
        for name in ("worker PSS", "worker private"):
            rows.add_column(name, justify="right")
        for kind, count, start in runs:
            run = child("workers", kind, stores, count, start, *files)
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
        console.print(rows)

        places = [Path("/dev/shm"), Path(tempfile.gettempdir()), stores]
        epoch = [*SELF, "--measure", "workers", PYARROW, str(stores), "2", "fork"]
        again = folder / "again"
        again.mkdir()
        convert = [*SELF, "--measure", "convert", PYARROW, str(again), *map(str, files)]
        began = time.perf_counter()
        child("convert", PYARROW, again, *files)
        halfway = (time.perf_counter() - began) / 2
        shutil.rmtree(again)
        again.mkdir()
        for what, command, seconds in (
            ("an epoch", [*epoch, *map(str, files)], None),
            ("a conversion", convert, halfway),
        ):
            left = left_behind(command, seconds, places)
            print(f"left by SIGKILL during {what}: {', '.join(left) or 'nothing'}")
        child("convert", PYARROW, again, *files)
        partial = [name for name in os.listdir(again) if "partial" in name]
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
